//go:build linux

package hostbase

import (
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/internal/hostusr"
)

// firstBootFile says what the agent changes in /usr when a guest of this base boots
// (agent/firstboot): in the guest's own layer, since /usr is the host's.
const firstBootFile = agentDir + "/first-boot"

// shortNames are programs that E2B's base has under both names.
var shortNames = map[string]string{"python": "python3", "pip": "pip3"}

// addFirstBoot makes Python what it is in E2B's base: it has the short names, and
// pip installs without an error that system packages are managed externally.
func (t *tree) addFirstBoot(hostRoot string) error {
	var lines []string
	for _, name := range []string{"python", "pip"} {
		if hostusr.Program(hostRoot, name) != "" {
			continue
		}
		if long := hostusr.Program(hostRoot, shortNames[name]); long != "" {
			lines = append(lines, "link "+filepath.Join(filepath.Dir(long), name)+" "+shortNames[name])
		}
	}
	for _, dir := range []string{"lib", "lib64", "local/lib"} {
		marks, err := filepath.Glob(filepath.Join(hostRoot, "usr", dir, "python3*/EXTERNALLY-MANAGED"))
		if err != nil {
			return err
		}
		for _, mark := range marks {
			if rel, err := filepath.Rel(hostRoot, mark); err == nil && !strings.ContainsAny(rel, " \n\t") {
				lines = append(lines, "remove /"+rel)
			}
		}
	}
	if len(lines) > 0 {
		t.file(firstBootFile, 0o600, strings.Join(lines, "\n")+"\n")
	}
	return nil
}

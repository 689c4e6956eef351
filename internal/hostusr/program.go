// Package hostusr finds the programs that the template "base" has from the host's
// /usr. It imports the standard library only; image/hostbase and doctor import it.
package hostusr

import (
	"path/filepath"
	"strings"
)

// dirs are searched in the order of a shell's PATH.
var dirs = []string{"local/sbin", "local/bin", "sbin", "bin"}

// Program returns the path in a guest of a program of the host whose root directory
// is root, or "" if a guest has none: a link into /opt or a home directory leads
// nowhere in a guest. A link through /etc/alternatives is followed to its end.
func Program(root, name string) string {
	usr, err := filepath.EvalSymlinks(filepath.Join(root, "usr"))
	if err != nil {
		return ""
	}
	for _, dir := range dirs {
		end, err := filepath.EvalSymlinks(filepath.Join(usr, dir, name))
		if err == nil && strings.HasPrefix(end, usr+"/") {
			return "/usr/" + dir + "/" + name
		}
	}
	return ""
}

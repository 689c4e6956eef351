package doctor

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/internal/hostusr"
)

// tool is a program that E2B's own base has, and its package on Debian and Ubuntu.
type tool struct{ name, pkg string }

// mainTools have a finding each. The first is required.
var mainTools = []struct {
	tool
	without string
}{
	{tool{"bash", "bash"}, "required to run commands"},
	{tool{"python3", "python3"}, "sandboxes will have no Python"},
	{tool{"node", "nodejs"}, "sandboxes will have no Node.js"},
	{tool{"git", "git"}, "sandboxes will have no git"},
}

// otherTools share one finding.
var otherTools = []tool{
	{"pip3", "python3-pip"}, {"npm", "npm"}, {"npx", "npm"}, {"gh", "gh"}, {"curl", "curl"}, {"wget", "wget"},
	{"gcc", "build-essential"}, {"g++", "build-essential"}, {"make", "build-essential"}, {"pkg-config", "pkg-config"},
	{"ps", "procps"}, {"ping", "iputils-ping"}, {"ip", "iproute2"}, {"ss", "iproute2"}, {"rsync", "rsync"}, {"ssh", "openssh-client"},
	{"tree", "tree"}, {"less", "less"}, {"file", "file"}, {"patch", "patch"}, {"unzip", "unzip"}, {"zip", "zip"}, {"xz", "xz-utils"},
	{"bzip2", "bzip2"}, {"jq", "jq"}, {"perl", "perl"}, {"vim", "vim"}, {"nano", "nano"}, {"tmux", "tmux"}, {"sqlite3", "sqlite3"},
}

// usr checks the directories and programs from which template "base" is made.
func usr(root string) []Finding {
	merged := Finding{Name: "base: /usr", Status: OK, Detail: "merged"}
	for _, name := range []string{"bin", "lib"} {
		target, err := os.Readlink(filepath.Join(root, name))
		if err != nil || path.Clean("/"+target) != "/usr/"+name {
			merged = Finding{"base: /usr", Fail, "/" + name + " is not a link to usr/" + name, "apt-get install usrmerge"}
			break
		}
	}
	out := []Finding{merged}
	for _, m := range mainTools {
		f := Finding{Name: "base: " + m.name, Status: OK, Detail: hostusr.Program(root, m.name)}
		if f.Detail == "" {
			f.Status, f.Detail, f.Hint = Warn, "not in /usr", m.without+": apt-get install "+m.pkg
			if m.name == "bash" {
				f.Status = Fail
			}
		}
		out = append(out, f)
	}
	return append(out, tools(root))
}

// tools lists programs of E2B's base that are missing.
func tools(root string) Finding {
	var missing, packages []string
	for _, t := range otherTools {
		if hostusr.Program(root, t.name) == "" {
			missing = append(missing, t.name)
			packages = append(packages, t.pkg)
		}
	}
	matches, _ := filepath.Glob(filepath.Join(root, "usr/lib*/python3*/ensurepip/_bundled"))
	if shared, _ := filepath.Glob(filepath.Join(root, "usr/share/python-wheels/pip-*.whl")); len(matches)+len(shared) == 0 {
		missing = append(missing, "python3 -m venv")
		packages = append(packages, "python3-venv")
	}
	if len(missing) == 0 {
		return Finding{Name: "base: tools", Status: OK, Detail: "all found"}
	}
	slices.Sort(packages)
	return Finding{"base: tools", Info, "missing, but expected by users of E2B's base: " + strings.Join(missing, ", "),
		"apt-get install " + strings.Join(slices.Compact(packages), " ")}
}

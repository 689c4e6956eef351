//go:build linux

package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/tree"
)

// treeOf makes a tree; a content that begins with "->" is a symbolic link.
func treeOf(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for path, content := range files {
		file := erofs.File{Mode: unix.S_IFREG | 0o644, Size: int64(len(content))}
		if target, ok := strings.CutPrefix(content, "->"); ok {
			file = erofs.File{Mode: unix.S_IFLNK | 0o777, Target: target}
		}
		if err := tr.Put(path, file, tree.Content{At: strings.NewReader(content)}); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func config(t *testing.T) Config {
	t.Helper()
	agent := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(agent, []byte("the agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{AgentPath: agent, Nameservers: []string{"192.0.2.1"}}
}

func added(t *testing.T, tr *tree.Tree, env ...string) {
	t.Helper()
	agent, err := Add(tr, env, config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Close() })
}

func read(t *testing.T, tr *tree.Tree, path string) string {
	t.Helper()
	data, err := tr.ReadFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAddToAnEmptyImage(t *testing.T) {
	tr := tree.New()
	added(t, tr)
	for path, want := range map[string]string{
		AgentPath: "the agent", "etc/hostname": Hostname, "etc/hosts": Hosts, "etc/resolv.conf": "nameserver 192.0.2.1\n", "etc/machine-id": "", "tmp/.keep": "",
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", "etc/group": "root:x:0:\nuser:x:1000:\n",
		"etc/shadow": "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n",
	} {
		if got := read(t, tr, path); got != want {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]uint32{
		"tmp": unix.S_IFDIR | 0o1777, "var/tmp": unix.S_IFDIR | 0o1777, "proc": unix.S_IFDIR | 0o755, "dev": unix.S_IFDIR | 0o755, "sys": unix.S_IFDIR | 0o755,
		"run": unix.S_IFDIR | 0o755, SudoPath: unix.S_IFREG | 0o4755, AgentPath: unix.S_IFREG | 0o755, "etc/shadow": unix.S_IFREG | 0o640, "home/user": unix.S_IFDIR | 0o755,
	} {
		if f, err := tr.Lookup(path); err != nil || f.Mode != want {
			t.Errorf("%s has the mode %o, want %o: %v", path, f.Mode, want, err)
		}
	}
	if f, err := tr.Lookup("home/user/.profile"); err != nil || f.UID != 1000 || f.GID != 1000 {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := tr.Lookup("bin/bash"); err == nil {
		t.Error("a bash without a shell")
	}
}

func TestAccounts(t *testing.T) {
	const root = "root:x:0:0:root:/root:/bin/ash\n"
	for name, c := range map[string]struct {
		passwd, group, shadow string
		wantPasswd, wantGroup string
		home                  string
		uid                   uint32
	}{
		"1000 is taken": {passwd: root + "node:x:1000:1000::/home/node:/bin/sh\n", group: "root:x:0:\nnode:x:1000:\nusers:x:100:games\n",
			wantPasswd: root + "node:x:1000:1000::/home/node:/bin/sh\nuser:x:1001:1001::/home/user:/bin/bash\n",
			wantGroup:  "root:x:0:\nnode:x:1000:\nusers:x:100:games,user\nuser:x:1001:\n", home: "home/user", uid: 1001},
		"group 1000 and user 1001 are taken": {passwd: root + "a:x:1001:1::/:/bin/sh\n", group: "root:x:0:\nb:x:1000:\n",
			wantPasswd: root + "a:x:1001:1::/:/bin/sh\nuser:x:1002:1002::/home/user:/bin/bash\n", wantGroup: "root:x:0:\nb:x:1000:\nuser:x:1002:\n", home: "home/user", uid: 1002},
		"user is there": {passwd: root + "user:x:500:100:Me:/srv/me:/bin/zsh\n", group: "root:x:0:\n",
			wantPasswd: root + "user:x:500:100:Me:/srv/me:/bin/zsh\n", wantGroup: "root:x:0:\n", home: "srv/me", uid: 500},
		"group is there": {passwd: root, group: "root:x:0:\nuser:x:50:\nsudo:x:27:\n",
			wantPasswd: root + "user:x:1000:50::/home/user:/bin/bash\n", wantGroup: "root:x:0:\nuser:x:50:\nsudo:x:27:user\n", home: "home/user", uid: 1000},
		"no root": {passwd: "garbage\n:::\n", group: "", wantPasswd: "root:x:0:0:root:/root:/bin/bash\ngarbage\n:::\nuser:x:1000:1000::/home/user:/bin/bash\n",
			wantGroup: "root:x:0:\nuser:x:1000:\n", home: "home/user", uid: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			tr := treeOf(t, map[string]string{"etc/passwd": c.passwd, "etc/group": c.group, "bin/sh": "sh", "etc/shadow": "root:!:1:::::\nlast:*:::::"})
			added(t, tr)
			if got := read(t, tr, "etc/passwd"); got != c.wantPasswd {
				t.Errorf("passwd %q", got)
			}
			if got := read(t, tr, "etc/group"); got != c.wantGroup {
				t.Errorf("group %q", got)
			}
			if got := read(t, tr, "etc/shadow"); got != "root:!:1:::::\nlast:*:::::\nuser:*:19000:0:99999:7:::\n" {
				t.Errorf("shadow %q", got)
			}
			if f, err := tr.Lookup(c.home); err != nil || f.UID != c.uid {
				t.Errorf("home %+v, %v", f, err)
			}
		})
	}
}

// TestHostileImages has links and directories where files are added.
func TestHostileImages(t *testing.T) {
	tr := treeOf(t, map[string]string{
		".rundlet": "->/usr", "etc": "->usr/etc", "usr/etc/resolv.conf": "->/run/none", "usr/etc/passwd": "->/data/passwd", "data/passwd": "root:x:0:0:::\n",
		"usr/etc/hosts/dir": "", "tmp": "->var/tmp", "var/tmp/x": "", "bin": "->usr/bin", "usr/bin/sh": "sh", "usr/etc/sudoers.d/x": "", "usr/bin/bash": "->none",
	})
	added(t, tr)
	for path, want := range map[string]string{
		"usr/etc/resolv.conf": "nameserver 192.0.2.1\n", "usr/etc/passwd": "root:x:0:0:::\nuser:x:1000:1000::/home/user:/bin/bash\n", "usr/etc/hosts": Hosts,
		"usr/bin/bash": "#!/bin/sh\nexec /bin/sh \"$@\"\n", ".rundlet/agent": "the agent",
	} {
		f, err := tr.Stat(path)
		if err != nil || f.Mode&unix.S_IFMT != unix.S_IFREG || read(t, tr, path) != want {
			t.Errorf("%s is %+v, %v", path, f, err)
		}
	}
	if _, err := tr.Stat("usr/agent"); err == nil {
		t.Error("the agent went through a link")
	}
	for _, etc := range []string{"a file", "->etc"} { // Without a directory, there is nothing to keep.
		other := treeOf(t, map[string]string{"etc": etc})
		added(t, other)
		if read(t, other, "etc/hostname") != Hostname {
			t.Errorf("%s: no host name", etc)
		}
	}
	for name, files := range map[string]map[string]string{
		"passwd is a directory": {"etc/passwd/x": ""}, "large": {"etc/group": strings.Repeat("x", 2<<20)},
		"home leads up": {"etc/passwd": "user:x:1:1::../../x:/bin/sh\n"},
	} {
		if _, err := Add(treeOf(t, files), nil, config(t)); err == nil || !strings.Contains(err.Error(), "add ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPathOfTheImage(t *testing.T) {
	for in, want := range map[string]string{
		"": binDir + ":" + systemPath, "PATH=/go/bin:/bin": binDir + ":/go/bin:/bin", "PATH=": binDir + ":" + systemPath, "PATH=/x:" + binDir: "/x:" + binDir,
	} {
		if got := Env([]string{"A=b", in}); got[0] != "PATH="+want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestLoginShellsKeepThePath runs profiles with the shell of this host.
func TestLoginShellsKeepThePath(t *testing.T) {
	const system = "PATH=/usr/bin:/bin\nexport PATH\n"
	for name, c := range map[string]struct{ profile, given, want string }{
		"lost":       {system, "/.rundlet/bin:/go/bin:/bin", "/.rundlet/bin:/go/bin:/bin:/usr/bin"},
		"none given": {system, "", "/.rundlet/bin:/image:/usr/bin:/bin"},
		"added":      {"PATH=$PATH:/more\n", "/.rundlet/bin:/bin", "/.rundlet/bin:/bin:/more"},
		"not ours":   {system, "/x", "/.rundlet/bin:/x:/usr/bin:/bin"},
		"open line":  {"PATH=/y", "/.rundlet/bin", "/.rundlet/bin:/y"},
	} {
		t.Run(name, func(t *testing.T) {
			profile := keepPath(c.profile, "/.rundlet/bin:/image")
			if keepPath(profile, "other") != profile {
				t.Error("a second time changes it")
			}
			out, err := runShell(t, profile+"\nprintf %s \"$PATH\"\nset -e; test -z \"${_rundlet_dir+x}\"", c.given)
			if err != nil || out != c.want {
				t.Errorf("PATH %q, want %q: %v", out, c.want, err)
			}
			// A login shell within a login shell.
			if again, err := runShell(t, profile+"\nprintf %s \"$PATH\"", out); err != nil || again != out {
				t.Errorf("PATH %q, want %q: %v", again, out, err)
			}
		})
	}
}

func TestIDChangesWithWhatIsAdded(t *testing.T) {
	c := config(t)
	first, err := c.ID()
	if err != nil || len(first) != 12 {
		t.Fatal(first, err)
	}
	other := c
	other.Nameservers = nil
	if id, err := other.ID(); err != nil || id == first {
		t.Errorf("id %s, %v", id, err)
	}
	if err := os.WriteFile(c.AgentPath, []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if id, err := c.ID(); err != nil || id == first {
		t.Errorf("id %s, %v", id, err)
	}
	c.AgentPath += "none"
	if _, err := c.ID(); err == nil {
		t.Error("no error without an agent")
	}
	if _, err := Add(tree.New(), nil, c); err == nil {
		t.Error("no error without an agent")
	}
	if _, err := Add(tree.New(), nil, Config{AgentPath: t.TempDir()}); err == nil {
		t.Error("no error with a directory as agent")
	}
}

// runShell runs a script as sh does, with a PATH that may be missing.
func runShell(t *testing.T, script, path string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	if cmd.Env = []string{"A=b"}; path != "" {
		cmd.Env = append(cmd.Env, "PATH="+path)
	} else {
		cmd.Args[2] = "unset PATH\n" + script // Shells set one.
	}
	out, err := cmd.Output()
	return string(out), err
}

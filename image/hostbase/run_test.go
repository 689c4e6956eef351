//go:build linux

package hostbase

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// childRoot makes a copy of this test binary enter a base and run its
// arguments there.
const childRoot = "RUNDLET_TEST_ENTER_BASE"

func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		err := enter(root, os.Args[1:])
		os.Stderr.WriteString("enter base: " + err.Error() + "\n")
		os.Exit(111)
	}
	os.Exit(m.Run())
}

// enter runs in new mount and process namespaces, which take everything away
// again when they end.
func enter(root string, args []string) error {
	const bind = syscall.MS_BIND | syscall.MS_REC
	sudo, err := os.ReadFile(root + sudoPath)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", syscall.MS_PRIVATE | syscall.MS_REC},
		{"/usr", root + "/usr", "", bind},
		{"/usr", root + "/usr", "", syscall.MS_REMOUNT | syscall.MS_BIND | syscall.MS_RDONLY},
		{"/dev", root + "/dev", "", bind},
		{"proc", root + "/proc", "proc", 0},
		{"bin", root + filepath.Dir(sudoPath), "tmpfs", 0},
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return &os.PathError{Op: "mount", Path: m.target, Err: err}
		}
	}
	if sudo != nil { // As drivers do, see SetUID.
		if err := errors.Join(os.WriteFile(root+sudoPath, sudo, 0o755), os.Chmod(root+sudoPath, 0o755|os.ModeSetuid)); err != nil {
			return err
		}
	}
	if err := syscall.Chroot(root); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return syscall.Exec(args[0], args, []string{"PATH=" + guestPath, "HOME=/root", "LANG=C.UTF-8"})
}

// TestProgramsRun runs programs of the host in the base natively: what works
// here does not depend on any driver.
func TestProgramsRun(t *testing.T) {
	needRoot(t)
	if !exists("/", "usr/bin/python3") {
		t.Skip("this host has no /usr/bin/python3")
	}
	// id stands in for the agent: as sudo it shows whom it runs as.
	base, err := Build(t.Context(), Config{Dir: t.TempDir(), AgentPath: "/usr/bin/id"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ command, want string }{
		"python":        {`python3 -c "print(6*7)"`, "42"},
		"tls roots":     {`python3 -c "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 0)"`, "True"},
		"id":            {`id user`, "uid=1000(user) gid=1000(user) groups=1000(user),27(sudo),100(users)"},
		"getent":        {`getent passwd user`, "user:x:1000:1000::/home/user:/bin/bash"},
		"hosts":         {`getent hosts localhost | wc -l`, "1"},
		"su":            {`su user -c 'id -un; pwd; echo $HOME'`, "user\n/\n/home/user"},
		"su login":      {`su - user -c 'pwd; echo $PATH'`, "/home/user\n" + guestPath},
		"su needs root": {`su user -c 'su root -c true </dev/null 2>/dev/null || echo refused'`, "refused"},
		"home":          {`su user -c 'cd && echo x > f && cat f && stat -c %U f'`, "x\nuser"},
		"shadow":        {`su user -c 'cat /etc/shadow 2>/dev/null || echo refused'`, "refused"},
		"tmp":           {`su user -c 'mktemp -d /tmp/XXXXXX >/dev/null && mktemp /var/tmp/XXXXXX > /dev/null && echo ok'`, "ok"},
		"path kept":     {`PATH=/x:/usr/bin:/bin bash -l -c 'echo $PATH'`, "/.rundlet/bin:/x:/usr/bin:/bin"},
		"awk":           {`awk 'BEGIN { print 6*7 }'`, "42"},
		"locale":        {`locale 2>&1 | grep -c -i cannot`, "0"},
		"date":          {`date -d @0 +%Z`, "UTC"},
		"dpkg":          {`dpkg -l 2>&1 | grep -c error`, "0"},
		"interactive":   {`su user -c 'bash -i -l -c "type -t ls"' 2>/dev/null`, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := inside(t, base, c.command); got != c.want {
				t.Errorf("%s\ngot  %q\nwant %q", c.command, got, c.want)
			}
		})
	}
	// The output of the host's own programs, if it has them.
	for _, command := range []string{"manpath", "fc-list | sort"} {
		program, _, _ := strings.Cut(command, " ")
		command = "PATH=/usr/bin:/bin " + command
		if want, err := exec.Command("bash", "-c", command).Output(); exists("/", "usr/bin/"+program) && err == nil {
			if got := inside(t, base, command); got != strings.TrimSpace(string(want)) {
				t.Errorf("%s\ngot  %q\nwant %q", command, got, want)
			}
		}
	}
	t.Run("sudo", func(t *testing.T) {
		if exists("/", "usr/bin/sudo") {
			// The host's own, under our sudoers.
			if got := inside(t, base, `su user -c 'sudo -n id -un'`); got != "root" {
				t.Errorf("sudo: %q", got)
			}
			return
		}
		if got := inside(t, base, `su user -c sudo`); !strings.Contains(got, "uid=1000(user)") || !strings.Contains(got, "euid=0(root)") {
			t.Errorf("sudo: %q", got)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), base.Rootfs) {
		t.Errorf("a mount is left under %s, %v", base.Rootfs, err)
	}
}

// inside runs a command in the base as E2B's SDKs do.
func inside(t *testing.T, base Base, command string) string {
	t.Helper()
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "/bin/bash", "-l", "-c", command)
	cmd.Env = []string{childRoot + "=" + base.Rootfs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Logf("%s: %v", command, err)
	}
	if stderr.Len() > 0 {
		t.Logf("stderr: %s", stderr.String())
	}
	return strings.TrimSpace(string(out))
}

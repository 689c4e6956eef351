package spawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcessesAreBornInTheirGroup has a group of version 2, which every kernel has, if without controllers.
func TestProcessesAreBornInTheirGroup(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	groups := filepath.Join(dir, "groups")
	if err := errors.Join(os.Mkdir(groups, 0o700), unix.Mount("cgroup2", groups, "cgroup2", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(groups, unix.MNT_DETACH) })
	name := fmt.Sprintf("rundlet-test-spawn-%d", os.Getpid())
	path := filepath.Join(groups, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // End has waited for the processes.
		if err := unix.Rmdir(path); err != nil {
			t.Error(err)
		}
	})
	group, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	s := sandboxOf(t, dir, specOf(t))
	s.Group = group
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.End()
	for what, pid := range map[string]int{"sandbox process": p.Sandbox.Pid, "file server": p.Gofer.Pid} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(text), "/"+name+"\n") {
			t.Errorf("the %s is in %s, %v", what, text, err)
		}
	}
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || strings.Contains(string(own), name) {
		t.Errorf("this process was moved: %s, %v", own, err)
	}
}

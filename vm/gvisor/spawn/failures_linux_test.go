package spawn

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoProcessHasTheEnvironmentOfTheDaemon has a secret in it.
func TestNoProcessHasTheEnvironmentOfTheDaemon(t *testing.T) {
	needRoot(t)
	t.Setenv("RUNDLET_TEST_SECRET", "0123")
	_, p := started(t, shortDir(t), func(*Sandbox) {})
	for name, process := range map[string]*os.Process{"sandbox process": p.Sandbox, "file server": p.Gofer} {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", process.Pid)); err != nil || len(env) > 0 {
			t.Errorf("the %s has the environment %q, %v", name, env, err)
		}
	}
}

// TestNothingIsLeftWithoutDescriptors starts a sandbox under each limit of descriptors, from one that is too
// low for anything to one that is enough.
func TestNothingIsLeftWithoutDescriptors(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	null := filepath.Join(dir, "null-netns")
	started(t, dir, func(s *Sandbox) { s.NullNetNS = null }) // What a process opens once, and the null namespace.
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
			t.Error(err)
		}
	})
	sub := filepath.Join(dir, "few")
	failures := 0
	for limit := uint64(1); ; limit++ {
		if err := os.RemoveAll(sub); err != nil {
			t.Fatal(err)
		}
		s := sandboxOf(t, sub, specOf(t))
		s.NullNetNS = null
		before := descriptors(t)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: usual.Max}); err != nil {
			t.Fatal(err)
		}
		p, err := Start(s)
		if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &usual); back != nil {
			t.Fatal(back)
		}
		if err == nil {
			p.End()
			break
		}
		failures++
		more := without(descriptors(t), before)
		for end := time.Now().Add(10 * time.Second); len(more) > 0 && !leakedByGo(err, more) && time.Now().Before(end); more = without(descriptors(t), before) {
			runtime.Gosched()
		}
		if leakedByGo(err, more) {
			closeBoth(t, more[0])
		} else if len(more) > 0 {
			t.Errorf("with %d descriptors (%v): %q are left", limit, err, more)
		}
		if pids := children(t, s.Bundle); len(pids) > 0 {
			t.Errorf("with %d descriptors (%v): processes %v are left", limit, err, pids)
		}
		if _, statErr := os.Lstat(s.Socket); statErr == nil {
			t.Errorf("with %d descriptors (%v): the socket is left", limit, err)
		}
		if entries, _ := os.ReadDir(s.LayerDir); len(entries) > 0 {
			t.Errorf("with %d descriptors (%v): the layers have names: %v", limit, err, entries)
		}
		if limit > 200 {
			t.Fatal("it never starts")
		}
	}
	if failures < 15 {
		t.Errorf("only %d limits are too low", failures)
	}
	mounts := 0
	for unix.Unmount(null, unix.MNT_DETACH) == nil {
		mounts++
	}
	if mounts != 1 {
		t.Errorf("the null namespace is pinned %d times", mounts)
	}
}

// without is what a list has more than another one.
func without(list, other []string) (more []string) {
	other = slices.Clone(other)
	for _, entry := range list {
		if i := slices.Index(other, entry); i >= 0 {
			other = slices.Delete(other, i, i+1)
		} else {
			more = append(more, entry)
		}
	}
	return more
}

// leakedByGo reports the pipe by which package syscall has a new process wait for its users: it stays open
// if the kernel makes no process (Go 1.26).
func leakedByGo(err error, more []string) bool {
	return strings.Contains(err.Error(), "fork/exec") && len(more) == 2 && more[0] == more[1] && strings.HasPrefix(more[0], "pipe:")
}

// closeBoth closes the ends of a pipe that this process has.
func closeBoth(t *testing.T, pipe string) {
	t.Helper()
	for fd := range 1000 {
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && link == pipe {
			if err := unix.Close(fd); err != nil {
				t.Fatal(err)
			}
		}
	}
}

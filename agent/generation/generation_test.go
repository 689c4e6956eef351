//go:build linux

package generation

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/reaper"
)

// console is a bytes.Buffer for several goroutines.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func newNotifier(t *testing.T) (*Notifier, *console) {
	t.Helper()
	r, c := reaper.New(false), &console{}
	n := New(t.TempDir(), r, c)
	t.Cleanup(func() {
		n.Close()
		r.Close()
	})
	return n, c
}

// hook writes an executable hook.
func (n *Notifier) hook(t *testing.T, name, script string) {
	t.Helper()
	dir := n.root + HookDir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wait returns when the hooks of the last restore have run.
func (n *Notifier) wait() {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	<-done
}

func TestHooksRunInOrderAndFailuresAreReported(t *testing.T) {
	n, console := newNotifier(t)
	out := t.TempDir() + "/out"
	n.hook(t, "30-last", "echo last $KEY >> "+out)
	n.hook(t, "10-first", "echo first $RUNDLET_GENERATION >> "+out)
	n.hook(t, "20-bad", "echo 'not\nthis way' >&2; exit 3")
	n.hook(t, "25-killed", "kill -9 $$")
	n.hook(t, ".hidden", "echo hidden >> "+out)
	n.hook(t, "40-text", "echo text >> "+out)
	if err := os.Chmod(n.root+HookDir+"/40-text", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.root+HookDir+"/50-binary", []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(n.root+HookDir+"/60-dir", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.Restored(map[string]string{"KEY": "value"}); err != nil {
		t.Fatal(err)
	}
	n.wait()
	id, _ := os.ReadFile(n.root + File)
	if text, _ := os.ReadFile(out); string(text) != "first "+string(id)+"last value\n" {
		t.Errorf("the hooks wrote %q", text)
	}
	report := console.String()
	for _, want := range []string{`"20-bad": exit status 3: "not\nthis way\n"`, `"25-killed": signal: killed`, `"50-binary": fork/exec`} {
		if !strings.Contains(report, want) {
			t.Errorf("the console has not %s:\n%s", want, report)
		}
	}
	if lines := strings.Count(report, "\n"); lines != 3 {
		t.Errorf("%d lines on the console:\n%s", lines, report)
	}
}

func TestAHookThatDoesNotEndIsKilledWithWhatItStarted(t *testing.T) {
	n, console := newNotifier(t)
	n.hookTimeout = 200 * time.Millisecond
	pids := t.TempDir() + "/pids"
	n.hook(t, "10-hangs", "sleep 600 & echo $! > "+pids+"; wait")
	n.hook(t, "20-next", "echo next >> "+pids)
	if err := n.Restored(nil); err != nil {
		t.Fatal(err)
	}
	n.wait()
	text, _ := os.ReadFile(pids)
	var pid int
	if _, err := fmt.Sscanf(string(text), "%d\nnext", &pid); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	// An orphan is collected by somebody else, soon.
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; {
		if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what the hook started still runs")
		}
	}
	if !strings.Contains(console.String(), "deadline exceeded") {
		t.Errorf("the console says %q", console.String())
	}
}

func TestAllHooksTogetherAreBounded(t *testing.T) {
	n, console := newNotifier(t)
	n.hooksTimeout = 200 * time.Millisecond
	n.hook(t, "10-hangs", "exec sleep 600")
	n.hook(t, "20-never", "echo > "+n.root+"/ran")
	if err := n.Restored(nil); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if _, err := os.Stat(n.root + "/ran"); err == nil {
		t.Error("a hook ran after the time for all")
	}
	if !strings.Contains(console.String(), "20-never") {
		t.Errorf("the console says %q", console.String())
	}
}

func TestAHooksOutputIsBoundedAndNeverBlocksIt(t *testing.T) {
	n, console := newNotifier(t)
	// Something it starts holds the output open.
	n.hook(t, "10-talks", "head -c 1000000 /dev/zero | tr '\\0' x; sleep 600 & echo $! > "+n.root+"/pid; exit 1")
	if err := n.Restored(nil); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if got := len(console.String()); got < reaper.MaxOutput || got > reaper.MaxOutput+200 {
		t.Errorf("%d bytes on the console", got)
	}
	text, _ := os.ReadFile(n.root + "/pid")
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what a hook left behind on purpose is gone: %v", err)
	}
}

func TestTheHooksOfTheLastRestoreCount(t *testing.T) {
	n, _ := newNotifier(t)
	n.hook(t, "10-once", "mkdir "+n.root+"/began || { echo second > "+n.root+"/out; exit 0; }; exec sleep 600")
	if err := n.Restored(nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := os.Stat(n.root + "/began"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the hook did not begin")
		}
	}
	if err := n.Restored(nil); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if text, _ := os.ReadFile(n.root + "/out"); string(text) != "second\n" {
		t.Errorf("the second restore's hook wrote %q", text)
	}
}

// What a guest can put in the way costs it its own generation at most.
func TestTheGenerationFileFollowsNothing(t *testing.T) {
	n, _ := newNotifier(t)
	if err := n.Begin(); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir() + "/outside"
	for name, trap := range map[string]func(path string) error{
		"link":    func(path string) error { return os.Symlink(outside, path) },
		"fifo":    func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"leaving": func(path string) error { return os.WriteFile(path, []byte("half"), 0o600) },
	} {
		for _, path := range []string{n.root + File, n.root + File + ".new"} {
			_ = os.Remove(path)
			if err := trap(path); err != nil {
				t.Fatal(err)
			}
			if err := n.Restored(nil); err != nil {
				t.Errorf("%s at %s: %v", name, filepath.Base(path), err)
			}
			info, err := os.Lstat(n.root + File)
			if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o644 || info.Size() < 17 {
				t.Errorf("%s at %s: %v, %v", name, filepath.Base(path), info, err)
			}
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a link was followed")
	}
}

package processor

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestAGroupCountsItsProcessesToTheirEnd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	g, err := Make("rundlet-test")
	if err != nil {
		t.Fatal(err)
	}
	removed := false
	defer func() {
		if !removed {
			_ = g.Remove()
		}
	}()
	if used, err := g.Used(); err != nil || used != 0 {
		t.Errorf("a new group has used %s, %v", used, err)
	}
	// It waits for a line, so that it is in the group before it does anything, and
	// what works is a child of it that has ended when it ends.
	cmd := exec.Command("/bin/sh", "-c", `read go; sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; exit 7`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if got, err := Of(cmd.Process.Pid); err != nil || !got.Is(g) || got.Is(g.Parent()) {
		t.Errorf("the process is in %+v, %v", got, err)
	}
	if err := g.Remove(); err == nil {
		t.Error("a group with a process was removed")
	}
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Fatalf("exit code %d", code)
	}
	kernel := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // of itself and its child
	used, err := g.Used()
	// What it used before it was moved is missing.
	if err != nil || used <= kernel/2 || used > kernel+100*time.Millisecond {
		t.Errorf("used %s, %v; the kernel says %s", used, err, kernel)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	removed = true
	if _, err := g.Used(); err == nil {
		t.Error("a group that is gone has used something")
	}
}

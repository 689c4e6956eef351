//go:build linux

package process

import (
	"errors"
	"os"
	"testing"
)

func TestProcessIdentity(t *testing.T) {
	_, start, err := State(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(os.Getpid(), start)
	if err != nil {
		t.Fatal(err)
	}
	p.Release()
	if _, err := Open(os.Getpid(), start+1); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
}

func TestWaitTellsAnEndFromARelease(t *testing.T) {
	hold := func() *Process {
		t.Helper()
		p, err := OpenChild(started(t, "wait-test-"+t.TempDir()).Pid)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	killed := hold()
	killed.SignalKill()
	if !killed.Wait() {
		t.Error("a process that was killed has not ended")
	}
	killed.Release()
	if !killed.Wait() {
		t.Error("its end is forgotten with its release")
	}
	released := hold()
	released.Release()
	if released.Wait() {
		t.Error("a process that was released has ended")
	}
	if state, _, err := State(released.PID); err != nil || state == 'Z' {
		t.Errorf("it runs no more: %c %v", state, err)
	}
	if (*Process)(nil).Wait() {
		t.Error("no process has ended")
	}
}

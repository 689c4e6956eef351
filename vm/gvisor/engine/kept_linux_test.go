package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

const (
	one = "rundlet-sandbox-0000000000000001"
	two = "rundlet-sandbox-0000000000000002"
)

// engines is a directory with these files.
func engines(t *testing.T, names ...string) Kept {
	t.Helper()
	k := Kept(t.TempDir())
	for _, name := range names {
		if err := os.WriteFile(k.Path(name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestWhatIsNotNeededIsRemoved(t *testing.T) {
	k := engines(t, one, two, ".three123")
	failed := errors.New("failed")
	if err := k.Remove(one, func() (map[string]bool, error) { return nil, failed }); !errors.Is(err, failed) || !k.Has(two) || !k.Has(".three123") {
		t.Errorf("it was removed although what is needed is not known: %v", err)
	}
	if err := k.Remove(one, func() (map[string]bool, error) { return map[string]bool{two: true}, nil }); err != nil || !k.Has(one) || !k.Has(two) || k.Has(".three123") {
		t.Errorf("what is needed was removed, or else not: %v", err)
	}
	if err := k.Remove("", func() (map[string]bool, error) { return map[string]bool{one: true}, nil }); err != nil || !k.Has(one) || k.Has(two) {
		t.Errorf("of a program without an engine: %v", err)
	}
	if err := k.Remove(one, func() (map[string]bool, error) { t.Error("asked for nothing"); return nil, nil }); err != nil || !k.Has(one) {
		t.Error(err)
	}
}

func TestOneDecidesAtATime(t *testing.T) {
	k := engines(t)
	unlock, err := k.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	var free atomic.Bool
	go func() {
		unlock, err := k.Lock(t.Context())
		if err == nil {
			if !free.Load() {
				err = errors.New("two hold the lock")
			}
			unlock()
		}
		second <- err
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Lock(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait whose context has ended: %v", err)
	}
	free.Store(true)
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestNamesOfADirectory(t *testing.T) {
	k := engines(t, one)
	if got := k.Name(k.Path(one)); got != one {
		t.Errorf("%q", got)
	}
	if got := k.Name("/elsewhere/"+one) + k.Name(k.Path("program")) + k.Path(""); got != "" {
		t.Errorf("%q", got)
	}
	if err := os.Symlink(k.Path(one), k.Path(two)); err != nil {
		t.Fatal(err)
	}
	if k.Has(two) || k.Has("") || !k.Has(one) {
		t.Error("a link is taken for an engine, or the directory, or the engine is not")
	}
}

// TestARunningEngine starts a program as one of a sandbox, and loses its file.
func TestARunningEngine(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("this host has no sleep")
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	k := engines(t)
	if err := os.WriteFile(k.Path(one), program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(k.Path(one), "1000")
	cmd.Args[0] = launch.ProcessPrefix + "sandbox"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	if err := os.Remove(k.Path(one)); err != nil {
		t.Fatal(err)
	}
	if name, err := Of(cmd.Process.Pid); name != one || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if running, err := Running(); err != nil || !running[one] || running[two] {
		t.Errorf("%v, %v", running, err)
	}
	if err := k.Recover(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(k.Path(one)); err != nil || string(again) != string(program) {
		t.Errorf("%d of %d bytes, %v", len(again), len(program), err)
	}
	if err := k.Recover(os.Getpid()); err == nil {
		t.Error("another program was kept")
	}
}

func TestVersion(t *testing.T) {
	own, err := Version(0)
	if err != nil || own == "" {
		t.Errorf("%q, %v", own, err)
	}
	if of, err := Version(os.Getpid()); err != nil || of != own {
		t.Errorf("this process has %q and %q, %v", own, of, err)
	}
}

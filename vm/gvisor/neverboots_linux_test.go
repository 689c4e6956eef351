package gvisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// TestACreateWhoseSandboxNeverTakesCallsIsBrokenOff has the processes wait for their own file, which is a pipe that nothing
// writes to.
func TestACreateWhoseSandboxNeverTakesCallsIsBrokenOff(t *testing.T) {
	d := newDriver(t)
	before, files := leftovers(d), 0
	for round := range 5 {
		ctx, cancel := context.WithCancel(testContext(t))
		d.points = failpoints{step: func(step, id string) {
			if step != stepCreateRecord {
				return
			}
			found, err := filepath.Glob(filepath.Join(d.dirs.Machines(), "*", launch.FileName))
			if err != nil || len(found) != 1 {
				t.Errorf("%q, %v", found, err)
				return
			}
			if err := errors.Join(unix.Unlink(found[0]), unix.Mkfifo(found[0], 0o600)); err != nil {
				t.Error(err)
			}
			bundle := filepath.Dir(found[0])
			go func() { // Until both processes are there.
				for ctx.Err() == nil && len(alive(filepath.Dir(bundle))) < 2 {
				}
				cancel()
			}()
		}}
		began := time.Now()
		if err := d.Create(ctx, "a", guestSpec(t)); !errors.Is(err, context.Canceled) {
			t.Fatalf("it ended with %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		cancel()
		if after := leftovers(d); !slices.Equal(before, after) {
			t.Errorf("before %q\nafter %q", before, after)
		}
		if round == 0 {
			files = openFiles(t, 0) // What is opened once is open now.
		}
	}
	if n := openFiles(t, files); n > files {
		t.Errorf("%d open files, %d before", n, files)
	}
}

// TestAStartThatIsNotAnsweredIsEnded freezes a sandbox process before its guest begins.
func TestAStartThatIsNotAnsweredIsEnded(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	before := leftovers(d)
	if err := d.Create(ctx, "a", guestSpec(t)); err != nil {
		t.Fatal(err)
	}
	m := mustFind(t, d, "a")
	defer vmtest.Freeze(t, m.sandbox.PID)()
	if err := soon(t, func(ctx context.Context) error { return d.Start(ctx, "a") }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the start ended with %v", err)
	}
	began := time.Now()
	if err := d.Destroy(ctx, "a"); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	if err := d.Forget(ctx, "a"); err != nil {
		t.Error(err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
	for held := packetSockets(t, m); ctx.Err() == nil; {
		if !slices.ContainsFunc(held, func(f *os.File) bool { _, err := f.Stat(); return err == nil }) {
			break
		}
	}
	if ctx.Err() != nil {
		t.Error("packet sockets stay open")
	}
}

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// booted makes a running machine that the test itself destroys.
func booted(t *testing.T, d *Driver, id string, spec vm.Spec) {
	t.Helper()
	ctx := testContext(t)
	if err := errors.Join(d.Create(ctx, id, spec), d.Start(ctx, id)); err != nil {
		t.Fatal(err)
	}
}

// soon makes a call with little time and returns its error.
func soon(t *testing.T, call func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	return call(ctx)
}

// TestHungCallsLeakNothing abandons calls of every kind on machines whose
// sentries hang, and ends them. No goroutine, file or host object stays.
func TestHungCallsLeakNothing(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	calls := map[string]func(ctx context.Context, id string) error{
		"stop":     d.Stop,
		"snapshot": func(ctx context.Context, id string) error { return d.Snapshot(ctx, id, "s") },
		"files":    func(ctx context.Context, id string) error { return d.SnapshotFilesystem(ctx, id, "s") },
		"start":    d.Start,
	}
	round := func() {
		for name, call := range calls {
			booted(t, d, name, guestSpec(t))
			if name == "start" {
				if err := d.Stop(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			m := mustFind(t, d, name)
			thaw := vmtest.Freeze(t, m.sandbox.PID)
			if err := soon(t, func(ctx context.Context) error { return call(ctx, name) }); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s ended with %v", name, err)
			}
			// One question can hang beside it, and no more.
			for i, want := range []error{context.DeadlineExceeded, vm.ErrUnavailable, vm.ErrUnavailable} {
				if err := soon(t, func(ctx context.Context) error { _, err := m.event(ctx); return err }); !errors.Is(err, want) {
					t.Errorf("question %d ended with %v, want %v", i, err, want)
				}
			}
			if err := d.Destroy(ctx, name); err != nil {
				t.Error(err)
			}
			thaw()
			if err := d.Forget(ctx, name); err != nil {
				t.Error(err)
			}
		}
	}
	round() // What is made once, whatever it is, is made now.
	before, files := leftovers(d), openFiles(t, 0)
	goroutines := settledGoroutines(t, 0)
	for range 3 {
		round()
	}
	if n := settledGoroutines(t, goroutines); n > goroutines {
		t.Errorf("%d goroutines, %d before:\n%s", n, goroutines, allStacks())
	}
	if n := openFiles(t, files); n > files {
		t.Errorf("%d open files, %d before", n, files)
	}
	if after := leftovers(d); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// settledGoroutines counts goroutines, and gives those that are about to end some
// time to get down to enough.
func settledGoroutines(t *testing.T, enough int) (n int) {
	t.Helper()
	bound := 30 * time.Second
	if enough == 0 {
		bound = 3 * time.Second // They are only counted.
	}
	for deadline := time.Now().Add(bound); ; <-time.After(20 * time.Millisecond) {
		if n = runtime.NumGoroutine(); n <= enough || time.Now().After(deadline) {
			return n
		}
	}
}

func allStacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// TestWhatAnAbandonedSaveLeavesIsRemoved shows that nothing of it stays when the
// sentry answers after all, and that the machine is as it was.
func TestWhatAnAbandonedSaveLeavesIsRemoved(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	booted(t, d, "a", guestSpec(t))
	before := leftovers(d)
	thaw := vmtest.Freeze(t, mustFind(t, d, "a").sandbox.PID)
	err := soon(t, func(ctx context.Context) error { return d.Snapshot(ctx, "a", "s") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the snapshot ended with %v", err)
	}
	if err := d.Stop(ctx, "a"); !errors.Is(err, vm.ErrUnavailable) || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("a stop of a machine that is being saved says %v", err)
	}
	thaw()
	awaitIdle(t, d, "a")
	if after := leftovers(d); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
	if err := errors.Join(client{d}.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "s"), freeAll(ctx, d)); err != nil {
		t.Error(err)
	}
}

func awaitIdle(t *testing.T, d *Driver, id string) {
	t.Helper()
	if _, err := vmtest.Answered(testContext(t), d, id); err != nil {
		t.Fatal(err)
	}
}

// TestAdoptAsksMachinesAtOnce shows that many which do not answer take no longer
// than one.
func TestAdoptAsksMachinesAtOnce(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	const n = 6
	for i := range n {
		booted(t, d, fmt.Sprint("m", i), guestSpec(t))
		vmtest.Freeze(t, mustFind(t, d, fmt.Sprint("m", i)).sandbox.PID)
	}
	d = reopen(t, d)
	began := time.Now()
	views, lost, err := d.Adopt(ctx)
	if err != nil || len(views) != n || len(lost) > 0 {
		t.Fatalf("adopted %+v, lost %v, %v", views, lost, err)
	}
	if took := time.Since(began); took > (n-1)*answerTime {
		t.Errorf("it took %v", took)
	}
	if err := freeAll(ctx, d); err != nil {
		t.Error(err)
	}
}

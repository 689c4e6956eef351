package runtime

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// hangingDriver has calls that hang as those of a sandbox process do that does
// not answer: they heed no context, and fail when their machine is destroyed.
type hangingDriver struct {
	recordingDriver
	h *hanging
}

type hanging struct {
	mu    sync.Mutex
	ops   map[string]bool          // which calls hang
	calls map[string]chan struct{} // by machine; closed by Destroy
}

var errEnded = errors.New("the machine was ended under the call")

func (h *hanging) set(ops ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = map[string]bool{}
	for _, op := range ops {
		h.ops[op] = true
	}
}

func (h *hanging) at(op, id string) error {
	h.mu.Lock()
	hangs := h.ops[op]
	call := h.calls[id]
	if call == nil {
		call = make(chan struct{})
		h.calls[id] = call
	}
	h.mu.Unlock()
	if !hangs {
		return nil
	}
	<-call
	return errEnded
}

func (h *hanging) end(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if call := h.calls[id]; call != nil {
		close(call)
		delete(h.calls, id)
	}
}

// endAll lets a test end that ends no machine.
func (h *hanging) endAll() {
	h.mu.Lock()
	ids := slices.Collect(maps.Keys(h.calls))
	h.mu.Unlock()
	for _, id := range ids {
		h.end(id)
	}
}

func (d hangingDriver) Create(ctx context.Context, id string, spec vm.Spec) error {
	if err := d.recordingDriver.Create(ctx, id, spec); err != nil {
		return err
	}
	return d.h.at("create", id)
}

func (d hangingDriver) Start(ctx context.Context, id string) error {
	if err := d.h.at("start", id); err != nil {
		return err
	}
	return d.recordingDriver.Start(ctx, id)
}

func (d hangingDriver) Stop(ctx context.Context, id string) error {
	if err := d.h.at("stop", id); err != nil {
		return err
	}
	return d.recordingDriver.Stop(ctx, id)
}

func (d hangingDriver) Snapshot(ctx context.Context, id, name string) error {
	if err := d.h.at("snapshot", id); err != nil {
		return err
	}
	return d.recordingDriver.Snapshot(ctx, id, name)
}

func (d hangingDriver) Destroy(ctx context.Context, id string) error {
	d.h.end(id)
	return d.recordingDriver.Destroy(ctx, id)
}

// hangs makes calls of the driver hang from now on.
func (f *fixture) hangs(ops ...string) *hanging {
	d, ok := f.cfg.Driver.(hangingDriver)
	h := d.h
	if !ok {
		h = &hanging{calls: map[string]chan struct{}{}}
		f.drive(func(d recordingDriver) vm.Runtime { return hangingDriver{d, h} })
	}
	h.set(ops...)
	return h
}

// TestAKillAlwaysWinsWithinSeconds: whatever call of the driver hangs, a kill
// ends it, its sandbox, and the call's client.
func TestAKillAlwaysWinsWithinSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		paused bool
		hangs  string
		call   func(f *fixture, id string) error
		row    sandbox.State // while it hangs
	}{
		"freeze": {hangs: "stop", call: pauseOf, row: sandbox.StatePausing},
		"save":   {hangs: "snapshot", call: pauseOf, row: sandbox.StatePausing},
		"snapshot": {hangs: "snapshot", row: sandbox.StateRunning, call: func(f *fixture, id string) error {
			_, err := f.rt.Snapshot(context.Background(), id, "", "")
			return err
		}},
		"fork": {hangs: "snapshot", row: sandbox.StateRunning, call: func(f *fixture, id string) error {
			_, err := f.rt.Fork(context.Background(), id, sandbox.ForkRequest{Count: 2, Timeout: time.Minute})
			return err
		}},
		"resume": {paused: true, hangs: "create", row: sandbox.StateResuming, call: func(f *fixture, id string) error {
			_, _, err := f.rt.Connect(context.Background(), id, time.Minute)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				sb, ctx := f.create(hours), context.Background()
				if c.paused {
					f.pause(sb.ID)
				}
				f.hangs(c.hangs)
				called := make(chan error, 1)
				go func() { called <- c.call(f, sb.ID) }()
				synctest.Wait()
				if row := f.row(sb.ID); row.State != c.row {
					t.Errorf("the call does not hang: %+v", row)
				}
				begin := time.Now()
				var wg sync.WaitGroup
				for range 3 { // Kills at once join.
					wg.Go(func() {
						if err := f.rt.Kill(ctx, sb.ID); err != nil {
							t.Errorf("kill: %v", err)
						}
					})
				}
				wg.Wait()
				if took := time.Since(begin); took > background.Grace {
					t.Errorf("it took %v", took)
				}
				if err := f.rt.Kill(ctx, sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
					t.Errorf("a kill of what is gone: %v", err)
				}
				if err := <-called; !errors.Is(err, sandbox.ErrNotFound) {
					t.Errorf("the call that hung: %v", err)
				}
				synctest.Wait()
				if row := f.row(sb.ID); row.State != "killed" || row.Reason != "killed by request" {
					t.Errorf("row %+v", row)
				}
				f.wantNothingLeft()
			})
		})
	}
}

func pauseOf(f *fixture, id string) error { return f.rt.Pause(context.Background(), id, true) }

func TestAKillGoesOnWhenItsClientGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		f.hangs("snapshot")
		go f.rt.Snapshot(context.Background(), sb.ID, "", "")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := f.rt.Kill(ctx, sb.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the client waits longer than it wants to: %v", err)
		}
		if _, err := f.rt.Get(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("it is still there for clients: %v", err)
		}
		time.Sleep(background.Grace)
		synctest.Wait()
		f.wantNothingLeft()
	})
}

func TestAClientThatGoesAwayIsNotHeldByACallThatHangs(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, f *fixture, id string) error{
		"pause": func(ctx context.Context, f *fixture, id string) error { return f.rt.Pause(ctx, id, true) },
		"snapshot": func(ctx context.Context, f *fixture, id string) error {
			_, err := f.rt.Snapshot(ctx, id, "", "")
			return err
		},
		"fork": func(ctx context.Context, f *fixture, id string) error {
			_, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 1, Timeout: time.Minute})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				sb := f.create(hours)
				f.hangs("stop", "snapshot")
				begin := time.Now()
				for range 2 { // The second waits for the first.
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					if err := call(ctx, f, sb.ID); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v", err)
					}
					cancel()
				}
				if took := time.Since(begin); took != 2*time.Second {
					t.Errorf("it took %v", took)
				}
				if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
					t.Errorf("kill: %v", err)
				}
				f.wantNothingLeft()
			})
		})
	}
}

func TestATimeoutEndsASandboxWhoseSnapshotHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		f.hangs("snapshot")
		go f.rt.Snapshot(context.Background(), sb.ID, "", "")
		time.Sleep(save.SnapshotTimeout + time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killed" || row.Reason != "timeout" {
			t.Errorf("row %+v", row)
		}
		f.wantNothingLeft()
	})
}

package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/sandbox"
)

func TestUserDataOutlivesAShutdown(t *testing.T) {
	f := newFixture(t)
	running, paused, gone := f.create(long), f.create(long), f.create(long)
	f.pause(paused.ID)
	f.pause(gone.ID)
	f.quarantine(gone.ID)
	if _, err := f.rt.Snapshot(context.Background(), running.ID, "precious", ""); err != nil {
		t.Fatal(err)
	}
	if err := f.rt.EndRunning(context.Background(), "shut down"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("create after the shutdown: %v", err)
	}
	f.restart()
	if row := f.row(running.ID); row.State != "killed" || row.Reason != "shut down" {
		t.Errorf("the one that ran: %+v", row)
	}
	for _, id := range []string{paused.ID, gone.ID} {
		if row := f.row(id); row.State != "paused" {
			t.Errorf("one that was paused: %+v", row)
		}
	}
	if _, err := f.rt.claims.Find(context.Background(), "precious", claim.KindSnapshot); err != nil {
		t.Error(err)
	}
	if _, _, err := f.rt.Connect(context.Background(), paused.ID, request().Timeout); err != nil {
		t.Errorf("resume of what was paused: %v", err)
	}
}

// quarantine makes a paused sandbox one whose snapshot cannot be found, as on a
// disk that is not mounted.
func (f *fixture) quarantine(id string) {
	f.t.Helper()
	row := f.row(id)
	snap, err := f.db.Snapshots.Get(context.Background(), row.SnapshotID)
	if err == nil {
		err = f.driver.Driver.DeleteSnapshot(context.Background(), snap.VMID, snap.Snapshot)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.restart()
}

// A pause that a client asked for is waited for; a resume is undone.
func TestUserDataOutlivesAShutdownInTheMiddleOfACall(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		prepare func(f *fixture, id string)
		step    string
		call    func(f *fixture, id string) error
		fails   bool
	}{
		"pause":      {func(*fixture, string) {}, "snapshot", func(f *fixture, id string) error { return f.rt.Pause(ctx, id, true) }, false},
		"files only": {func(*fixture, string) {}, "snapshot files", func(f *fixture, id string) error { return f.rt.Pause(ctx, id, false) }, false},
		"resume": {func(f *fixture, id string) { f.pause(id) }, "init", func(f *fixture, id string) error {
			_, _, err := f.rt.Connect(ctx, id, request().Timeout)
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer func() { f.rt.Close() }()
				sb := f.create(long)
				c.prepare(f, sb.ID)
				inside, ended := make(chan struct{}), make(chan error, 1)
				f.lookDuring(c.step, func() {
					close(inside)
					f.lookDuring(c.step, nil)
					synctest.Wait() // The shutdown is as far as it gets.
				})
				called := make(chan error, 1)
				go func() { called <- c.call(f, sb.ID) }()
				<-inside
				go func() { ended <- f.rt.EndRunning(ctx, "shut down") }()
				if err := <-called; (err != nil) != c.fails {
					t.Errorf("the call returned %v", err)
				}
				if err := <-ended; err != nil {
					t.Errorf("the shutdown returned %v", err)
				}
				f.restart()
				if row := f.row(sb.ID); row.State != "paused" {
					t.Errorf("left as %s: %s", row.State, row.Reason)
				}
			})
		})
	}
}

// The end of many takes as long as the machine needs for them, and has that time.
func TestTheEndOfManyHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 80
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes = many
		f.restart()
		defer f.rt.Close()
		for range many {
			f.create(hours)
		}
		var now, most atomic.Int64
		f.lookDuring("destroy", func() {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(end.AtOnce * endEachTime)
		})
		bound := f.rt.EndTimeout()
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		begin := time.Now()
		if err := f.rt.KillAll(ctx, "test"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > bound-endTimeout+end.AtOnce*endEachTime || most.Load() != end.AtOnce {
			t.Errorf("%v of %v, %d at a time", took, bound, most.Load())
		}
		f.wantNothingLeft()
	})
}

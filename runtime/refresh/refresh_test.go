package refresh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// guest is one whose commands succeed, once hold is closed; nil is at once.
type guest struct{ hold chan struct{} }

func (g guest) Run(ctx context.Context, _ string, _ machine.Command) error {
	if g.hold == nil {
		return nil
	}
	select {
	case <-g.hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (guest) Kill(context.Context, string, string) error { return nil }

// fullDisk is the table of sandboxes on a disk that is full for some time.
type fullDisk struct {
	mu    sync.Mutex
	until time.Time
}

func (d *fullDisk) fill(bound time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Now().Add(bound)
}

func (d *fullDisk) Get(context.Context, string) (store.Sandbox, error) {
	return store.Sandbox{}, store.ErrNotFound
}

func (d *fullDisk) Put(_ context.Context, row *store.Sandbox) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return errors.New("database or disk is full")
	}
	row.Version++
	return nil
}

// begin begins the sync of a new sandbox.
func begin(t *testing.T, g guest, disk *fullDisk) (*Refresher, *live.Sandbox) {
	group, log, all := background.New(t.Context()), slog.New(slog.DiscardHandler), live.NewSet()
	r := New(Config{
		Live: all, Rows: &rows.Writer{Store: rows.Store{Sandboxes: disk}, Log: log, Here: func(store.Sandbox) error { return nil }},
		Guest: g, Steps: &step.Recorder{Latency: new(latency.Recorder)}, Background: group, Timeout: DefaultTimeout, Log: log,
	})
	t.Cleanup(func() {
		group.Stop()
		group.Wait()
	})
	sb := live.New(store.Sandbox{ID: "i1", State: sandbox.StateRunning, Freshness: sandbox.Freshness{
		Phase: freshness.Restored, Branch: "main", Target: "origin/main", Checkout: "/app"}})
	all.Know(sb, nil)
	r.Begin(sb)
	return r, sb
}

// A sync has its time, and its outcome has all the time that it needs: a gate whose sync is over, and not written, never opens.
func TestAnOutcomeIsWrittenHoweverLongTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{until: time.Now().Add(time.Hour)}
		r, sb := begin(t, guest{}, disk)
		if err := r.AwaitSync(t.Context(), sb.ID); err != nil || sb.Row().Freshness.Phase != freshness.Ready {
			t.Errorf("when the disk has room again, the gate is %s: %v", sb.Row().Freshness.Phase, err)
		}
	})
}

// What a client decides cannot be written: then the sync that it ended goes on.
func TestASyncGoesOnIfItsEndByHandIsNotWritten(t *testing.T) {
	for name, end := range map[string]func(*Refresher, context.Context, string) error{
		"complete": (*Refresher).CompleteSync,
		"fail":     func(r *Refresher, ctx context.Context, id string) error { return r.FailSync(ctx, id, "no") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, hold := &fullDisk{}, make(chan struct{})
				r, sb := begin(t, guest{hold}, disk)
				synctest.Wait()
				disk.fill(time.Minute)
				if err := end(r, t.Context(), sb.ID); err == nil || sb.Row().Freshness.Phase != freshness.Syncing {
					t.Fatalf("%s: %v", sb.Row().Freshness.Phase, err)
				}
				disk.fill(0)
				close(hold)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := r.AwaitSync(ctx, sb.ID); err != nil || sb.Row().Freshness.Phase != freshness.Ready {
					t.Errorf("the gate is %s: %v", sb.Row().Freshness.Phase, err)
				}
			})
		})
	}
}

package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func (f *fixture) figures() Figures {
	f.t.Helper()
	got, err := f.rt.Figures(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

func TestFiguresFollowTheLifeOfSandboxes(t *testing.T) {
	f := newFixture(t)
	a, b := f.create(), f.create()
	f.create()
	f.pause(a.ID)
	if _, err := f.rt.Snapshot(context.Background(), b.ID, "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.rt.Snapshot(context.Background(), a.ID, "", ""); err != nil {
		t.Fatal(err)
	}
	got := f.figures()
	if got.Sandboxes[sandbox.StateRunning] != 2 || got.Sandboxes[sandbox.StatePaused] != 1 || len(got.Sandboxes) != 2 || got.Stuck != 0 {
		t.Errorf("sandboxes %v, %d stuck", got.Sandboxes, got.Stuck)
	}
	if got.Capacity.Active.Sandboxes != 2 || got.Capacity.Capacity.Sandboxes != 10 || got.Queue.Admitted != 4 { // The base, too.
		t.Errorf("capacity %+v, queue %+v", got.Capacity, got.Queue)
	}
	// The snapshot of the paused one shares its files.
	if got.Snapshots[claim.KindPause] != (SnapshotFigures{1, 6}) || got.Snapshots[claim.KindSnapshot] != (SnapshotFigures{2, 6}) {
		t.Errorf("snapshots %v", got.Snapshots)
	}
	for _, sb := range []sandbox.Sandbox{a, b} {
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Fatal(err)
		}
	}
	f.failNext("init", 1)
	if _, err := f.rt.Create(context.Background(), request()); err == nil {
		t.Fatal("created")
	}
	got = f.figures()
	if got.Sandboxes[sandbox.StateRunning] != 1 || len(got.Sandboxes) != 1 || got.Kills["killed by request"] != 2 || got.Kills["create failed"] != 1 {
		t.Errorf("sandboxes %v, kills %v", got.Sandboxes, got.Kills)
	}
	if got.Snapshots[claim.KindPause] != (SnapshotFigures{}) || got.Snapshots[claim.KindSnapshot] != (SnapshotFigures{2, 12}) {
		t.Errorf("snapshots %v", got.Snapshots)
	}
	if got.Reconciled.Recovered != 0 {
		t.Errorf("reconciled %+v", got.Reconciled)
	}
	f.restart()
	if got := f.figures(); got.Reconciled.Recovered != 1 || got.Sandboxes[sandbox.StateRunning] != 1 || len(got.Kills) != 0 {
		t.Errorf("after a restart %+v", got)
	}
}

func TestReasonsOfEndsAreCountedByTheirClass(t *testing.T) {
	var tl tally
	for _, reason := range []string{"exited: 1", "exited: 2", "lost: the host: was rebooted", "timeout"} {
		tl.killed(reason)
	}
	if tl.kills["exited"] != 2 || tl.kills["lost"] != 1 || tl.kills["timeout"] != 1 || len(tl.kills) != 3 {
		t.Errorf("%v", tl.kills)
	}
}

func TestFiguresTellWhoWaitedInVainAndWhoWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes = 1
		f.cfg.MaxWait = 3 * time.Second
		f.cfg.MaxPending = 1
		free := freeDisk(100)
		f.cfg.Disk = &free
		f.cfg.Floors = disk.Floors{Restore: 50}
		f.restart()
		f.create()
		done := make(chan error)
		go func() {
			_, err := f.rt.Create(context.Background(), request())
			done <- err
		}()
		synctest.Wait()
		if got := f.figures().Queue; got.Pending != 1 {
			t.Errorf("queue %+v", got)
		}
		if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, sandbox.ErrCapacity) {
			t.Errorf("a second one waits: %v", err)
		}
		if err := <-done; !errors.Is(err, sandbox.ErrCapacity) {
			t.Errorf("waited: %v", err)
		}
		free = 49
		if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, sandbox.ErrDiskFull) {
			t.Errorf("below the floor: %v", err)
		}
		got := f.figures()
		if got.GaveUp != 1 || got.DiskFull != 1 || got.Queue.Cancelled != 1 || got.Queue.Full != 1 || got.Queue.Pending != 0 {
			t.Errorf("%+v", got)
		}
		f.rt.Close()
	})
}

func TestASandboxPastItsDeadlineIsStuck(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	h, _ := f.rt.live.Find(sb.ID)
	for _, c := range []struct {
		state    sandbox.State
		deadline time.Time
		stuck    int
	}{
		{sandbox.StatePausing, time.Now().Add(-time.Second), 1},
		{sandbox.StatePausing, time.Now().Add(time.Minute), 0},
		{sandbox.StatePausing, time.Time{}, 0},
		{sandbox.StateRunning, time.Now().Add(-time.Second), 0},
	} {
		h.Update(func(row *store.Sandbox) { row.State, row.Deadline = c.state, c.deadline })
		if got := f.figures().Stuck; got != c.stuck {
			t.Errorf("%s until %v: %d stuck", c.state, c.deadline, got)
		}
	}
}

func TestFiguresOfThePool(t *testing.T) {
	warmed(t, pool.Target{Ready: 2, Prepared: 1}, func(t *testing.T, f *fixture) {
		f.create()
		time.Sleep(warmpool.Cooldown)
		synctest.Wait()
		got := f.figures()
		if len(got.WarmPools) != 1 {
			t.Fatalf("%d pools", len(got.WarmPools))
		}
		p := got.WarmPools[0]
		if p.Template != template.BaseAlias || p.Ready != 2 || p.Prepared != 1 || p.Target.Ready != 2 || p.Hits != 1 || p.Refills < 4 {
			t.Errorf("%+v", p)
		}
		if got.Capacity.Warm.Sandboxes != 3 || got.Capacity.Active.Sandboxes != 1 {
			t.Errorf("%+v", got.Capacity)
		}
	})
}

func TestFiguresFailWithTheStore(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.rt.Figures(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// freeDisk is a disk with so much room.
type freeDisk int64

func (d *freeDisk) FreeBytes(string) (int64, error) { return int64(*d), nil }

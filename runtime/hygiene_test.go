package runtime

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// orphan leaves an unused machine and slot.
func (f *fixture) orphan() {
	f.t.Helper()
	_, err := f.network.Acquire(context.Background(), egress.Everything)
	if err := errors.Join(err, f.cfg.Driver.Create(context.Background(), "stray", vm.Spec{Rootfs: "/base"})); err != nil {
		f.t.Fatal(err)
	}
}

func TestWhatNobodyUsesIsFreedWhileOthersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Hygiene: 5 * time.Minute})
		defer f.rt.Close()
		sb := f.create(hours)
		f.orphan()
		time.Sleep(14 * time.Minute) // Seen twice, and not old enough.
		synctest.Wait()
		if n := f.network.count(); n != 2 {
			t.Fatalf("%d slots", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := f.network.count(); n != 1 {
			t.Errorf("%d slots", n)
		}
		if views, err := f.cfg.Driver.List(context.Background()); err != nil || len(views) != 1 || views[0].ID != sb.ID {
			t.Errorf("machines %+v, %v", views, err)
		}
		if got := f.rt.Supervision().Freed; got["process"] != 1 || got["netns"] != 1 || len(got) != 2 {
			t.Errorf("freed %v", got)
		}
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Error(err)
		}
		f.wantNothingLeft()
	})
}

func TestWhatIsOwnedIsNotFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		f.orphan()
		disown := f.rt.held.Hold("stray", "slot1")
		defer f.rt.held.Hold("stray")() // Another owner keeps it.
		if !f.network.has("slot1") {
			t.Fatal("the slot is gone")
		}
		for range 5 {
			f.rt.cleaner.Clean(ctx)
			time.Sleep(supervise.OrphanAge)
		}
		if n := f.network.count(); n != 1 {
			t.Errorf("%d slots", n)
		}
		disown()
		disown()
		f.rt.cleaner.Clean(ctx)
		if n := f.network.count(); n != 1 {
			t.Error("its age began before it was given up")
		}
		time.Sleep(supervise.OrphanAge)
		f.rt.cleaner.Clean(ctx)
		views, _ := f.cfg.Driver.List(ctx)
		if n := f.network.count(); n != 0 || len(views) != 1 {
			t.Errorf("%d slots, machines %+v", n, views)
		}
	})
}

func TestWarmMachinesAreNoLeavings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Warm = pool.Target{Ready: 2, Prepared: 1}
		f.supervised(Supervision{Hygiene: 5 * time.Minute})
		defer f.rt.Close()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := f.network.count(); n != 3 {
			t.Fatalf("%d are warm", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := f.rt.Supervision().Freed; len(got) != 0 {
			t.Errorf("freed %v", got)
		}
	})
}

func TestHygieneGoesOnAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Hygiene: 5 * time.Minute})
		defer f.rt.Close()
		f.orphan()
		f.failNext("leased", 2)
		f.failNext("lock", 1)
		f.failNext("destroy", 3)
		f.failNext("release", 2)
		time.Sleep(time.Hour)
		synctest.Wait()
		f.wantNothingLeft()
	})
}

func TestOneLeavingThatCannotBeFreedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		f.orphan()
		f.failNext("destroy", forever)
		f.rt.cleaner.Clean(ctx)
		time.Sleep(supervise.OrphanAge)
		f.rt.cleaner.Clean(ctx)
		if n := f.network.count(); n != 0 {
			t.Errorf("%d slots", n)
		}
	})
}

// abandon writes a claim that will not be filled, and saves for it.
func (f *fixture) abandon(sb sandbox.Sandbox, kind, state string) store.Snapshot {
	f.t.Helper()
	ctx := context.Background()
	snap := f.rt.claims.Claim(f.row(sb.ID), kind)
	snap.State = state
	if err := f.db.Snapshots.Put(ctx, &snap); err != nil {
		f.t.Fatal(err)
	}
	if err := f.cfg.Driver.Snapshot(ctx, snap.VMID, snap.Snapshot); err != nil {
		f.t.Fatal(err)
	}
	return snap
}

func TestAbandonedClaimsAreDroppedAndThoseInUseAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb, paused := f.create(hours), f.create(hours)
		f.pause(paused.ID)
		kept, err := f.rt.Snapshot(ctx, sb.ID, "kept", "")
		if err != nil {
			t.Fatal(err)
		}
		gone := []string{
			f.abandon(sb, claim.KindSnapshot, store.SnapshotSaving).ID,
			f.abandon(sb, claim.KindFork, store.SnapshotReady).ID,
			f.abandon(sb, claim.KindPause, store.SnapshotReady).ID,
		}
		f.rt.cleaner.Clean(ctx)
		var left []string
		rows, err := f.db.Snapshots.Claims(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			left = append(left, row.ID)
		}
		for _, id := range gone {
			if slices.Contains(left, id) {
				t.Errorf("%s is left", id)
			}
		}
		if len(left) != 2 || !slices.Contains(left, kept.ID) || !slices.Contains(left, f.row(paused.ID).SnapshotID) {
			t.Errorf("left are %v", left)
		}
		f.resume(paused.ID)
	})
}

// TestHygieneInTheMiddleOfEveryOperationTakesNothingAway looks for orphans, with
// no regard to their age, at every step of every operation.
func TestHygieneInTheMiddleOfEveryOperationTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		var looking sync.Mutex
		looked := map[step.Step]bool{}
		f.failpoint(func(at step.Step) error {
			if !looking.TryLock() {
				return nil // It is hygiene itself, or another fork, that passes it.
			}
			defer looking.Unlock()
			looked[at] = true
			cleaner := newCleaner(&f.rt.parts) // It has seen nothing.
			cleaner.Clean(ctx)
			if err := f.rt.claims.Review(ctx, 0); err != nil {
				t.Error(err)
			}
			if err := cleaner.FreeOrphans(ctx, time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			return nil
		})
		sb := f.create(hours)
		f.inside(sb.ID).Set("mark", "mine")
		if _, err := f.rt.Snapshot(ctx, sb.ID, "snap", ""); err != nil {
			t.Fatal(err)
		}
		forks, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 2, Timeout: time.Hour})
		if err != nil || forks[0].Err != nil || forks[1].Err != nil {
			t.Fatalf("forks %+v, %v", forks, err)
		}
		f.pause(sb.ID)
		f.resume(sb.ID)
		if got := f.inside(sb.ID).Get("mark"); got != "mine" {
			t.Errorf("it was resumed with %q", got)
		}
		if err := f.rt.DeleteSnapshot(ctx, "snap"); err != nil {
			t.Error(err)
		}
		f.pause(sb.ID)
		for _, id := range []string{sb.ID, forks[0].Sandbox.ID, forks[1].Sandbox.ID} {
			if err := f.rt.Kill(ctx, id); err != nil {
				t.Error(err)
			}
		}
		looking.Lock() // What runs in the background passes steps, too.
		defer looking.Unlock()
		for _, step := range step.All() {
			if !looked[step] {
				t.Errorf("%s was not passed", step)
			}
		}
		if got := f.rt.Supervision().Freed["process"] + f.rt.Supervision().Freed["netns"]; got != 0 {
			t.Errorf("%d things in use were freed", got)
		}
		f.wantNothingLeft()
	})
}

func TestADamagedSnapshotIsRemovedIfNobodyNeedsItAndToldOnceIfSomebodyDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		log := &logged{}
		f.cfg.Log = slog.New(log)
		f.restart()
		paused := f.create(hours)
		f.pause(paused.ID)
		needed := f.row(paused.ID).SnapshotID
		if err := f.db.Garbage.Mark(ctx, "gone", "old"); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.damaged = []vm.SnapshotInfo{
			{VMID: "gone", SnapshotID: "old", CreatedAt: time.Now().Add(-time.Hour), Damaged: "no manifest"},
			{VMID: "gone", SnapshotID: "young", CreatedAt: time.Now(), Damaged: "no manifest"},
			{VMID: paused.ID, SnapshotID: needed, CreatedAt: time.Now().Add(-time.Hour), Damaged: "input/output error"},
		}
		f.mu.Unlock()
		f.rt.cleaner.Clean(ctx)
		f.rt.cleaner.Clean(ctx)
		var left []string
		f.mu.Lock()
		for _, s := range f.damaged {
			left = append(left, s.SnapshotID)
		}
		f.mu.Unlock()
		if want := []string{"young", needed}; !slices.Equal(left, want) {
			t.Errorf("left are %v, want %v", left, want)
		}
		if lines := log.saying("input/output error"); len(lines) != 1 {
			t.Errorf("logged %d times: %q", len(lines), log.saying())
		}
		if n := f.rt.Supervision().Freed["snapshot"]; n != 1 {
			t.Errorf("%d snapshots are counted", n)
		}
	})
}

func TestKilledSandboxesAreForgottenWhileTheDaemonRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		if err := f.rt.Kill(ctx, sb.ID); err != nil {
			t.Fatal(err)
		}
		f.rt.cleaner.Clean(ctx)
		if rows, err := f.rt.Killed(ctx, 10); err != nil || len(rows) != 1 {
			t.Errorf("at once: %+v, %v", rows, err)
		}
		time.Sleep(supervise.KilledKept + time.Hour)
		f.rt.cleaner.Clean(ctx)
		if rows, err := f.rt.Killed(ctx, 10); err != nil || len(rows) != 0 {
			t.Errorf("later: %+v, %v", rows, err)
		}
	})
}

func TestATemplateBuildIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		f.rt.cfg.LockTemplates = func(ctx context.Context) (func(), error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin := time.Now()
		if err := newCleaner(&f.rt.parts).CleanSnapshots(ctx); err != nil || time.Since(begin) != supervise.LockPatience {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestTheNextDaemonSealsWhatTheLastHadNoTimeTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		snap, err := f.rt.Snapshot(ctx, sb.ID, "", "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		row, err := f.db.Snapshots.Get(ctx, snap.ID)
		if err != nil {
			t.Fatal(err)
		}
		row.Manifest = ""
		if err := f.db.Snapshots.Put(ctx, &row); err != nil {
			t.Fatal(err)
		}
		f.restart()
		defer f.rt.Close()
		synctest.Wait()
		if row, err := f.db.Snapshots.Get(ctx, snap.ID); err != nil || row.Manifest == "" {
			t.Errorf("%+v, %v", row, err)
		}
	})
}

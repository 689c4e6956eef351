package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/sandbox"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/pool"
)

// sharing is a fixture with bounds.
func sharing(t *testing.T, s admission.Shares) *fixture {
	f := newFixture(t)
	f.cfg.Shares = s
	f.restart()
	return f
}

func of(key string) func(*sandbox.CreateRequest) {
	return func(r *sandbox.CreateRequest) { r.KeyID = key }
}

func (f *fixture) tryCreate(key string) error {
	req := request()
	req.KeyID = key
	_, err := f.rt.Create(context.Background(), req)
	return err
}

// wantShare checks that err is the refusal of more than a share.
func (f *fixture) wantShare(what string, err error) {
	f.t.Helper()
	var full *sandbox.CapacityError
	if !errors.As(err, &full) || full.Resource != sandbox.ResourceShare || full.RetryAfter == 0 || full.Error() == "" {
		f.t.Errorf("%s: %v", what, err)
	}
}

func TestAKeyHasNoMoreSandboxesThanItsShare(t *testing.T) {
	f, ctx := sharing(t, admission.Shares{SandboxesPerKey: 3, Sandboxes: 5}), context.Background()
	a, b := f.create(of("a")), f.create(of("a"))
	f.pause(b.ID)
	f.failNext("init", 1)
	if err := f.tryCreate("a"); !errors.Is(err, sandbox.ErrNoAnswer) {
		t.Fatalf("a create that fails: %v", err)
	}
	c := f.create(of("a"))
	f.wantShare("a fourth, one of them paused", f.tryCreate("a"))
	results, err := f.rt.Fork(ctx, a.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Minute, KeyID: "a"})
	if err != nil || len(results) != 1 {
		t.Fatal(err)
	}
	f.wantShare("a fork", results[0].Err)
	f.create(of("b"))
	f.create(of("b"))
	f.wantShare("a sixth of all", f.tryCreate("b"))
	f.restart()
	f.wantShare("after a restart", f.tryCreate("a"))
	for _, id := range []string{b.ID, c.ID} {
		if err := f.rt.Kill(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	f.create(of("a"))
	if err := f.rt.KillAll(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	f.wantNothingLeft()
}

func TestAKeyRunsNoMoreAtATimeThanItsShare(t *testing.T) {
	f, ctx := sharing(t, admission.Shares{RunningPerKey: 1}), context.Background()
	a := f.create(of("a"), func(r *sandbox.CreateRequest) { r.AutoResume = true })
	f.wantShare("a second", f.tryCreate("a"))
	f.create(of("b"))
	f.pause(a.ID)
	other := f.create(of("a"))
	_, _, err := f.rt.Connect(ctx, a.ID, time.Minute)
	f.wantShare("a resume", err)
	_, err = f.rt.Wake(ctx, a.ID)
	if !errors.Is(err, sandbox.ErrCapacity) && !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("a wake: %v", err)
	}
	if sb, err := f.rt.Get(ctx, a.ID); err != nil || sb.State != sandbox.StatePaused {
		t.Errorf("what could not be resumed is %v, %v", sb.State, err)
	}
	f.restart()
	f.wantShare("after a restart", f.tryCreate("a"))
	if err := f.rt.Kill(ctx, other.ID); err != nil {
		t.Fatal(err)
	}
	f.failNext("init", 1)
	if _, _, err := f.rt.Connect(ctx, a.ID, time.Minute); err == nil {
		t.Fatal("resumed")
	}
	if _, _, err := f.rt.Connect(ctx, a.ID, time.Minute); err != nil {
		t.Errorf("with room, after a resume that failed: %v", err)
	}
	f.wantShare("a second beside the resumed one", f.tryCreate("a"))
}

// A resume that is refused before there is a machine leaves its key what it had.
func TestAResumeThatIsRefusedCountsForNothing(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	f.cfg.Shares, f.cfg.Capacity.Sandboxes, f.cfg.MaxPending = admission.Shares{RunningPerKey: 1}, 1, -1
	f.restart()
	a := f.create(of("a"))
	f.pause(a.ID)
	b := f.create(of("b"))
	var full *sandbox.CapacityError
	if _, _, err := f.rt.Connect(ctx, a.ID, time.Minute); !errors.As(err, &full) || full.Resource == sandbox.ResourceShare {
		t.Fatalf("a resume beside a full node: %v", err)
	}
	if all, running := f.rt.admission.Places.Counts(); all != 2 || running != 1 {
		t.Errorf("%d counted, %d running", all, running)
	}
	if err := f.rt.Kill(ctx, b.ID); err != nil {
		t.Fatal(err)
	}
	f.create(of("a"))
}

func TestAWarmMachineCountsForWhoGotIt(t *testing.T) {
	warmed(t, pool.Target{Ready: 2}, func(t *testing.T, f *fixture) {
		f.cfg.Shares.SandboxesPerKey = 1
		f.restart()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if all, _ := f.rt.admission.Places.Counts(); all != 0 {
			t.Errorf("warm machines count: %d", all)
		}
		f.create(of("a"))
		f.wantShare("a second", f.tryCreate("a"))
		f.create(of("b"))
		time.Sleep(warmpool.Cooldown)
		synctest.Wait()
		if all, running := f.rt.admission.Places.Counts(); all != 2 || running != 2 {
			t.Errorf("%d counted, %d running", all, running)
		}
	})
}

// A key with as many snapshots as it may have is refused one more, and nothing that was
// saved is deleted to make room.
func TestAKeyHasNoMoreSnapshotsThanItsShare(t *testing.T) {
	f, ctx := sharing(t, admission.Shares{SnapshotsPerKey: 2, Snapshots: 3}), context.Background()
	sb, paused := f.create(), f.create()
	f.pause(paused.ID)
	first, err := f.rt.Snapshot(ctx, sb.ID, "first", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.rt.Capture(ctx, paused.ID, sandbox.ReasonStopped, "a"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{sb.ID, paused.ID} {
		_, err := f.rt.Snapshot(ctx, id, "", "a")
		f.wantShare("a third", err)
	}
	_, err = f.rt.Capture(ctx, paused.ID, sandbox.ReasonStopped, "a")
	f.wantShare("a continuation", err)
	if _, err := f.rt.Snapshot(ctx, paused.ID, "", "b"); err != nil {
		t.Fatal(err)
	}
	_, err = f.rt.Snapshot(ctx, paused.ID, "", "b")
	f.wantShare("a fourth of all", err)
	// Forks and pauses are not snapshots of a client, and are not refused for them.
	if _, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Minute, KeyID: "a"}); err != nil {
		t.Errorf("a fork: %v", err)
	}
	f.pause(sb.ID)
	if list, err := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{}); err != nil || len(list) != 2 {
		t.Errorf("%d snapshots are left, %v", len(list), err)
	}
	if err := f.rt.DeleteSnapshot(ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.rt.Snapshot(ctx, paused.ID, "", "a"); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// One key that asks for ever does not keep another from its turn.
func TestOneKeyNeverFillsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes, f.cfg.MaxPending = 1, 6
		f.restart()
		defer f.rt.Close()
		holder := f.create(of("a"))
		greedy := make(chan error, 12)
		for range 12 {
			go func() { greedy <- f.tryCreate("a") }()
		}
		synctest.Wait()
		refused := len(greedy)
		done := make(chan error)
		go func() { done <- f.tryCreate("b") }()
		synctest.Wait()
		if got := f.figures().Queue; got.PendingByTenant["a"] != 3 || got.PendingByTenant["b"] != 1 || refused != 9 {
			t.Errorf("%v wait, %d were refused", got.PendingByTenant, refused)
		}
		for range 2 { // The first of a has waited for longer, then it is the turn of b.
			if err := f.rt.Kill(context.Background(), holder.ID); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			all, err := f.rt.List(context.Background(), sandbox.ListFilter{})
			if err != nil || len(all) != 1 {
				t.Fatal(fmt.Sprint(len(all), err))
			}
			holder = all[0]
		}
		if holder.KeyID != "b" {
			t.Errorf("the second one made is of key %q", holder.KeyID)
		}
		if err := <-done; err != nil {
			t.Errorf("the other key: %v", err)
		}
	})
}

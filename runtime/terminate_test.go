package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm/memvm"
)

func samples(f *fixture, name string) int {
	for _, s := range f.rt.Latency().Summaries() {
		if s.Name == name {
			return s.Count
		}
	}
	return 0
}

func TestKillDestroysThenFreesTheNetworkThenReleasesThenSamples(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.forgetHistory()
	if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
		t.Fatal(err)
	}
	if want := []string{"destroy", "release"}; !slices.Equal(f.history(), want) {
		t.Errorf("order %v, want %v", f.history(), want)
	}
	f.wantNothingLeft()
	if row := f.row(sb.ID); row.State != "killed" || row.Reason != "killed by request" || row.KilledAt.IsZero() {
		t.Errorf("row %+v", row)
	}
	if n := samples(f, latency.KillDelete); n != 1 {
		t.Errorf("%d samples", n)
	}
	if err := f.rt.Kill(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("second kill: %v", err)
	}
	if _, err := f.rt.Get(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := f.rt.Dial(context.Background(), sb.ID, 80); !errors.Is(err, sandbox.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
}

// TestKillsAtOnceJoin: the sandbox is ended once, and who asked for it while it was
// there has it.
func TestKillsAtOnceJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		f.forgetHistory()
		f.lookDuring("destroy", func() { time.Sleep(time.Second) })
		errs := make(chan error, 8)
		for range 8 {
			go func() { errs <- f.rt.Kill(context.Background(), sb.ID) }()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := countOf(f, "destroy"); n != 1 {
			t.Errorf("it was ended %d times", n)
		}
		if err := f.rt.Kill(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("a kill of what is gone: %v", err)
		}
		// It is not found as soon as its time is over, also by a kill.
		sb = f.create(func(r *sandbox.CreateRequest) { r.Timeout = time.Minute })
		time.Sleep(time.Minute + 100*time.Millisecond)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killing" {
			t.Errorf("it is %s", row.State)
		}
		if err := f.rt.Kill(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("a kill of what timed out: %v", err)
		}
	})
}

func TestWhatCannotBeEndedKeepsItsCapacityAndIsRetriedUntilItIsGone(t *testing.T) {
	for _, step := range []string{"destroy", "release"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				sb := f.create()
				f.failNext(step, 3)
				if err := f.rt.Kill(context.Background(), sb.ID); !errors.Is(err, errInjected) {
					t.Fatalf("got %v", err)
				}
				if got := f.rt.admission.Ledger.Active().Sandboxes; got != 1 {
					t.Errorf("%d reserved while it cannot be ended", got)
				}
				if row := f.row(sb.ID); row.State != "killing" {
					t.Errorf("row %+v", row)
				}
				if n := samples(f, latency.KillDelete); n != 0 {
					t.Errorf("%d samples of a kill that failed", n)
				}
				if _, err := f.rt.Get(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
					t.Errorf("a client still sees it: %v", err)
				}
				time.Sleep(time.Minute) // of the bubble's clock: three retries
				synctest.Wait()
				f.wantNothingLeft()
				if row := f.row(sb.ID); row.State != "killed" || row.Reason != "killed by request" {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

func TestTimeouts(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name  string
		move  func(*Runtime, string) error
		alive time.Duration // the last moment at which it must live
		dead  time.Duration // the first at which it must not
	}{
		{"as asked at create", nil, 59 * time.Second, 61 * time.Second},
		{"set later", func(r *Runtime, id string) error { return r.SetTimeout(ctx, id, 2*time.Minute) }, 119 * time.Second, 121 * time.Second},
		{"set sooner", func(r *Runtime, id string) error { return r.SetTimeout(ctx, id, time.Second) }, 0, 2 * time.Second},
		{"set to now", func(r *Runtime, id string) error { return r.SetTimeout(ctx, id, 0) }, 0, time.Millisecond},
		{"extended", func(r *Runtime, id string) error { return r.Extend(ctx, id, 2*time.Minute) }, 119 * time.Second, 121 * time.Second},
		{"extension never shortens", func(r *Runtime, id string) error { return r.Extend(ctx, id, time.Second) }, 59 * time.Second, 61 * time.Second},
		{"connect never shortens", func(r *Runtime, id string) error { _, _, err := r.Connect(ctx, id, time.Second); return err }, 59 * time.Second, 61 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				sb := f.create()
				if tc.move != nil {
					if err := tc.move(f.rt, sb.ID); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tc.alive)
				synctest.Wait()
				if _, err := f.rt.Get(ctx, sb.ID); err != nil && tc.alive > 0 {
					t.Errorf("after %v: %v", tc.alive, err)
				}
				time.Sleep(tc.dead - tc.alive)
				synctest.Wait()
				f.wantNothingLeft()
				if row := f.row(sb.ID); row.Reason != "timeout" {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

// A client that got a later end in an answer must get it, even if the timer fired
// while its request was under way.
func TestATimeoutThatMovesWhileTheTimerFiresIsKept(t *testing.T) {
	f := newFixture(t)
	id := f.create().ID
	sb, _ := f.rt.live.Find(id)
	_ = sb.Life.Lock(t.Context()) // as moveEnd does
	sb.Update(func(row *store.Sandbox) { row.EndAt = time.Now().Add(-time.Second) })
	fired := make(chan struct{})
	go func() {
		f.rt.saver.ExpireNow(sb)
		close(fired)
	}()
	// A goroutine that waits for a mutex cannot be observed. This gives an early look
	// at the end the time to go wrong; the right one does not depend on it.
	select {
	case <-fired:
		t.Error("it did not wait for the request")
	case <-time.After(20 * time.Millisecond):
	}
	sb.Update(func(row *store.Sandbox) { row.EndAt = time.Now().Add(time.Hour) })
	sb.Life.Unlock()
	<-fired
	if _, err := f.rt.Get(context.Background(), id); err != nil {
		t.Errorf("it was ended: %v", err)
	}
}

// A timer that fired while its sandbox was killed has nothing left to do.
func TestATimerThatComesLateDoesNothing(t *testing.T) {
	f := newFixture(t)
	id := f.create().ID
	sb, _ := f.rt.live.Find(id)
	sb.Update(func(row *store.Sandbox) { row.EndAt = time.Now().Add(-time.Second) })
	if err := f.rt.Kill(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	row := f.row(id)
	f.forgetHistory()
	f.rt.saver.ExpireNow(sb)
	if again := f.row(id); len(f.history()) != 0 || again.State != "killed" || !again.KilledAt.Equal(row.KilledAt) {
		t.Errorf("it did %v, the row is %+v", f.history(), again)
	}
}

func TestTheIntentToKillIsWrittenFirst(t *testing.T) {
	f := newFixture(t)
	id := f.create().ID
	for _, step := range []string{"destroy", "release"} {
		f.lookDuring(step, func() {
			if row := f.row(id); row.State != "killing" || row.Reason != "killed by request" {
				t.Errorf("%s: row %+v", step, row)
			}
		})
	}
	if err := f.rt.Kill(context.Background(), id); err != nil {
		t.Fatal(err)
	}
}

func TestConnectReturnsTheEndUnchangedWhenAShorterOneIsAsked(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	got, resumed, err := f.rt.Connect(context.Background(), sb.ID, time.Second)
	if err != nil || resumed || !got.EndAt.Equal(sb.EndAt) {
		t.Errorf("got %v %v %v, want %v", got.EndAt, resumed, err, sb.EndAt)
	}
	if _, _, err := f.rt.Connect(context.Background(), "iunknown", time.Second); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	for _, d := range []time.Duration{-time.Second, 1000 * time.Hour} {
		if err := f.rt.SetTimeout(context.Background(), sb.ID, d); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("timeout %v: %v", d, err)
		}
	}
}

func TestAMachineThatEndsByItselfIsReportedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		guest(f, sb.ID).Exit("oom")
		synctest.Wait()
		f.wantNothingLeft()
		if row := f.row(sb.ID); row.State != "killed" || row.Reason != "oom" {
			t.Errorf("row %+v", row)
		}
	})
}

func guest(f *fixture, id string) *memvm.Guest {
	return f.driver.Guest(id)
}

func TestKillAllEndsEverythingAndAdmitsNothing(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.create()
	}
	tpl, err := f.rt.starter.Resolve(context.Background(), "base")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.rt.KillAll(context.Background(), "shut down"); err != nil {
		t.Fatal(err)
	}
	f.wantNothingLeft()
	// One that was under way already is not admitted either.
	if _, err := f.rt.starter.Create(context.Background(), request(), tpl, nil); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("create during KillAll: %v", err)
	}
	if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("create after KillAll: %v", err)
	}
	f.wantNothingLeft()
}

func TestAKillSucceedsWhenOnlyItsRowCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		f.db.Close() // every write fails from now on
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Errorf("kill: %v", err)
		}
		if _, err := f.rt.Get(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if f.network.count() != 0 || f.rt.admission.Ledger.Active().Sandboxes != 0 {
			t.Errorf("%d slots and %+v are left", f.network.count(), f.rt.admission.Ledger.Active())
		}
	})
}

package runtime

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
)

// The tests of this file are the ordering guarantees of docs/reference-parity.md
// that are about the warm pool.

func TestAWarmMachineIsReservedThenLaunchedThenProbedThenRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.cfg.Warm = pool.Target{Ready: 1}
		f.restart()
		defer f.rt.Close()
		f.forgetHistory()
		for _, step := range []string{"acquire", "create", "init"} {
			f.lookDuring(step, func() {
				if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 1 {
					t.Errorf("%s: not reserved before: %+v", step, u)
				}
				if got := f.pooled(); got != [2]int{} {
					t.Errorf("%s: retained before it was probed: %v", step, got)
				}
			})
		}
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := []string{"acquire", "create", "init"}
		if got := slices.DeleteFunc(f.history(), func(e string) bool { return !slices.Contains(want, e) }); !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v", got)
		}
	})
}

// The ledger is looked at from within every step of a checkout, and all the time
// by somebody else.
func TestACheckoutPromotesAndWhatIsUsedInTotalNeverDipsOrDoubles(t *testing.T) {
	const depth = 32
	f := newFixture(t)
	f.cfg.Warm = pool.Target{Ready: depth}
	f.cfg.Capacity.Sandboxes = depth // no room to be counted twice
	f.restart()
	if err := f.rt.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(time.Minute); f.pooled() != [2]int{depth, 0}; {
		select {
		case <-deadline:
			t.Fatalf("pooled %v", f.pooled())
		case <-time.After(time.Millisecond):
		}
	}
	f.refill(false)
	total := f.rt.admission.Ledger.Usage().Warm
	check := func(when string) capacity.Usage {
		u := f.rt.admission.Ledger.Usage()
		if got := u.Active.Plus(u.Warm); got != total {
			t.Errorf("%s: %+v is used, want %+v", when, got, total)
		}
		return u
	}
	var stop atomic.Bool
	watching, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		close(watching)
		for !stop.Load() && !t.Failed() {
			check("meanwhile")
		}
	}()
	<-watching
	no, steps := false, 0
	promoted := int64(0)
	look := func(when string) {
		steps++
		if u := check(when); u.Active.Sandboxes != promoted {
			t.Errorf("%s: %d active, want %d", when, u.Active.Sandboxes, promoted)
		}
	}
	for _, step := range []string{"set egress", "init"} {
		f.lookDuring(step, func() { look(step) })
	}
	f.failpoint(func(at step.Step) error { look(string(at)); return nil })
	for range depth {
		promoted++
		f.create(long, func(r *sandbox.CreateRequest) { r.AllowInternet, r.Env = &no, map[string]string{"A": "1"} })
		check("after")
	}
	stop.Store(true)
	<-watched
	if steps < 4*depth {
		t.Errorf("looked %d times from within", steps)
	}
	if n := samples(f, latency.WarmPoolCheckout); n != depth {
		t.Errorf("%d samples of %d checkouts", n, depth)
	}
	// Nothing is left in it: that is not an error, and no checkout.
	from, err := f.rt.starter.Resolve(context.Background(), "base")
	if err != nil {
		t.Fatal(err)
	}
	if w := f.rt.pool.Checkout(from); w != nil || samples(f, latency.WarmPoolCheckout) != depth {
		t.Errorf("an empty pool handed out %+v", w)
	}
}

func TestARefillTickNeedsNoClock(t *testing.T) {
	warmed(t, pool.Target{Ready: 2}, func(t *testing.T, f *fixture) {
		f.refill(false)
		synctest.Wait()
		f.create(long)
		synctest.Wait()
		f.refill(true) // The background waits for the end of the cooldown.
		synctest.Wait()
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Fatalf("pooled %v before the tick", got)
		}
		begin := time.Now()
		if n := f.rt.pool.Refill(begin); n != 1 {
			t.Errorf("the tick began %d", n)
		}
		synctest.Wait()
		if got := f.pooled(); got != [2]int{2, 0} {
			t.Errorf("pooled %v", got)
		}
		if n := f.rt.pool.Refill(begin); n != 0 {
			t.Errorf("a tick with nothing to do began %d", n)
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("it took %s", waited)
		}
	})
}

func TestCloseEndsTheRefillTaskAndReturns(t *testing.T) {
	for name, during := range map[string]func(f *fixture){
		"idle":                func(*fixture) {},
		"a launch on its way": func(f *fixture) { f.create(long) },
		"launches that fail":  func(f *fixture) { f.failNext("create", 1000); f.create(long) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left
				f := newFixture(t)
				f.cfg.Warm = pool.Target{Ready: 2}
				f.restart()
				f.create(long)
				synctest.Wait()
				during(f)
				begin := time.Now()
				f.rt.Close()
				if waited := time.Since(begin); waited > time.Second {
					t.Errorf("it took %s", waited)
				}
				if n := f.rt.pool.Refill(time.Now()); n > 0 {
					synctest.Wait()
				}
				if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 0 || int(u.Active.Sandboxes) != f.running() {
					t.Errorf("%+v, %d run", u, f.running())
				}
				if n := f.network.count(); n != f.running() {
					t.Errorf("%d slots for %d sandboxes", n, f.running())
				}
			})
		})
	}
}

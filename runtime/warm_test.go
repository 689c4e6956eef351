package runtime

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
)

// warmed runs a test over a runtime whose pool is full, in a bubble.
func warmed(t *testing.T, target pool.Target, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Warm = target
		f.restart()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.forgetHistory()
		test(t, f)
		f.rt.Close()
		if n := f.network.count() - f.running(); n != 0 {
			t.Errorf("%d slots are left of the pool", n)
		}
		if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 0 {
			t.Errorf("capacity is left of the pool: %+v", u)
		}
	})
}

func (f *fixture) running() int {
	list, err := f.rt.List(context.Background(), sandbox.ListFilter{States: []sandbox.State{sandbox.StateRunning}})
	if err != nil {
		f.t.Fatal(err)
	}
	return len(list)
}

// pooled returns how many ready and prepared machines there are.
func (f *fixture) pooled() [2]int {
	for _, s := range f.rt.Load().Warm {
		return [2]int{s.Ready, s.Prepared}
	}
	return [2]int{}
}

// refill stops or allows what fills the pool.
func (f *fixture) refill(on bool) {
	limits := warmpool.Unlimited
	if !on {
		limits.Refill = warmpool.RefillNone
	}
	f.rt.pool.SetLimits(limits)
}

func TestThePoolReservesLaunchesProbesAndRetains(t *testing.T) {
	warmed(t, pool.Target{Ready: 2, Prepared: 1}, func(t *testing.T, f *fixture) {
		if got := f.pooled(); got != [2]int{2, 1} {
			t.Fatalf("pooled %v", got)
		}
		u := f.rt.admission.Ledger.Usage()
		if u.Warm.Sandboxes != 3 || u.Active.Sandboxes != 0 || u.Warm.Launches != 0 {
			t.Errorf("reserved %+v", u)
		}
		if list, _ := f.rt.List(context.Background(), sandbox.ListFilter{}); len(list) != 0 {
			t.Errorf("a warm machine is shown: %+v", list)
		}
		if rows, _ := f.db.Sandboxes.Live(context.Background(), "test"); len(rows) != 0 {
			t.Errorf("a warm machine has a row: %+v", rows)
		}
	})
}

func TestACheckoutPromotesAndMakesNothing(t *testing.T) {
	warmed(t, pool.Target{Ready: 1}, func(t *testing.T, f *fixture) {
		f.refill(false)
		before := f.rt.admission.Ledger.Usage()
		sb := f.create()
		if h := f.history(); len(h) != 0 {
			t.Errorf("a warm create did %v", h)
		}
		after := f.rt.admission.Ledger.Usage()
		if after.Active.Sandboxes != 1 || before.Warm.Sandboxes != 1 || after.Available.Sandboxes > before.Available.Sandboxes {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if samples(f, latency.WarmPoolCheckout) != 1 {
			t.Error("no sample of the checkout")
		}
		init := f.initOf(sb.ID)
		if init.SandboxID != sb.ID || init.AccessToken != sb.EnvdAccessToken || init.Hostname != sb.ID || init.BootID == "" {
			t.Errorf("init %+v of %+v", init, sb)
		}
		if row := f.row(sb.ID); row.State != "running" || row.Metadata["who"] != "me" || row.SlotID == "" {
			t.Errorf("row %+v", row)
		}
		f.refill(true)
		synctest.Wait()
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v after the refill", got)
		}
		f.inside(sb.ID).Exit("oom") // it is watched as every sandbox is
		synctest.Wait()
		if row := f.row(sb.ID); row.Reason != "oom" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAWarmSandboxIsWhatWasAskedFor(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, Prepared: 1}, func(t *testing.T, f *fixture) {
		no := false
		for _, stage := range []string{"ready", "prepared"} {
			f.refill(false)
			f.forgetHistory()
			f.lookDuring("set egress", func() {
				if f.running() > 0 && stage == "ready" {
					t.Error("it was exposed before its policy was in force")
				}
			})
			sb := f.create(func(r *sandbox.CreateRequest) {
				r.Env, r.AllowInternet, r.Secure, r.OnTimeout = map[string]string{"A": "1"}, &no, false, sandbox.OnTimeoutPause
			})
			init := f.initOf(sb.ID)
			if init.Env["A"] != "1" || init.AccessToken != "" || sb.EnvdAccessToken != "" || init.Restored {
				t.Errorf("%s: init %+v", stage, init)
			}
			if f.network.internet(f.row(sb.ID).SlotID) {
				t.Errorf("%s: it reaches the internet", stage)
			}
			if sb.OnTimeout != sandbox.OnTimeoutPause {
				t.Errorf("%s: %+v", stage, sb)
			}
			want := []string{"set egress", "init"}
			if stage == "prepared" {
				want = []string{"set egress", "start", "init"}
			}
			if !slices.Equal(f.history(), want) {
				t.Errorf("%s: did %v, want %v", stage, f.history(), want)
			}
		}
		if s := f.rt.Load().Warm[0]; s.Hits != 1 || s.Misses != 1 {
			t.Errorf("a prepared machine counts as a miss: %+v", s)
		}
	})
}

func TestAnEmptyPoolIsNoError(t *testing.T) {
	warmed(t, pool.Target{Ready: 1}, func(t *testing.T, f *fixture) {
		f.refill(false)
		f.create()
		f.create()
		f.create()
		if samples(f, latency.WarmPoolCheckout) != 1 || samples(f, latency.WarmSnapshotRestore) < 2 {
			t.Error("want one checkout and two restores")
		}
	})
}

func TestAFailedLaunchReleasesAndEndsNothingElse(t *testing.T) {
	for _, step := range []string{"acquire", "create", "init", "command"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			f.cfg.Warm = pool.Target{Ready: 2}
			f.restart()
			if err := f.rt.Prepare(context.Background()); err != nil {
				t.Fatal(err)
			}
			f.failNext(step, 2)
			synctest.Wait()
			time.Sleep(10 * time.Second) // of the bubble's clock: the back-off
			synctest.Wait()
			if got := f.pooled(); got != [2]int{2, 0} {
				t.Errorf("%s: pooled %v", step, got)
			}
			if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 2 || f.network.count() != 2 {
				t.Errorf("%s: %+v, %d slots", step, u, f.network.count())
			}
			f.rt.Close()
			f.wantNothingLeft()
		})
	}
}

func TestWarmMachinesYieldToActiveWorkAndActiveWorkIsNeverEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Warm = pool.Target{Ready: 4}
		f.cfg.Capacity.Sandboxes = 5
		f.restart()
		defer f.rt.Close()
		first := f.create(long)
		snap, err := f.rt.Snapshot(context.Background(), first.ID, "", "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(warmpool.Cooldown)
		synctest.Wait()
		if got := f.pooled(); got != [2]int{4, 0} {
			t.Fatalf("pooled %v", got)
		}
		// What the pool cannot serve takes the place of what is in it.
		for range 4 {
			f.create(long, func(r *sandbox.CreateRequest) { r.Template = snap.ID })
		}
		synctest.Wait()
		if got := f.pooled(); got != [2]int{} {
			t.Errorf("pooled %v", got)
		}
		if n := f.running(); n != 5 {
			t.Errorf("%d run", n)
		}
		if u := f.rt.admission.Ledger.Usage(); u.Active.Sandboxes != 5 || u.Warm.Sandboxes != 0 {
			t.Errorf("%+v", u)
		}
	})
}

func TestWhoWaitsIsNotOvertakenByWayOfThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Warm = pool.Target{Ready: 3}
		f.cfg.Launches = 1
		f.restart()
		defer f.rt.Close()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var order []string
		done := make(chan string, 8)
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			go func() {
				f.create(long, func(r *sandbox.CreateRequest) { r.Metadata = map[string]string{"name": name} })
				done <- name
			}()
			synctest.Wait()
		}
		for range 6 {
			order = append(order, <-done)
		}
		if got := strings.Join(order, ""); got != "abcdef" {
			t.Errorf("served in the order %s", got)
		}
	})
}

func TestAWarmMachineThatDiesIsReplacedAndNeverHandedOut(t *testing.T) {
	warmed(t, pool.Target{Ready: 1}, func(t *testing.T, f *fixture) {
		owned := map[string]bool{}
		f.rt.pool.Owned(owned)
		var dead string
		for id := range owned {
			if !strings.HasPrefix(id, "slot") {
				dead = id
			}
		}
		f.inside(dead).Exit("oom")
		synctest.Wait()
		time.Sleep(warmpool.RefillInterval)
		synctest.Wait()
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v", got)
		}
		if sb := f.create(); sb.ID == dead {
			t.Error("a dead machine was handed out")
		}
	})
}

func TestAWarmMachineThatCannotBeEndedKeepsItsCapacity(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, MaxAge: time.Hour}, func(t *testing.T, f *fixture) {
		f.failNext("destroy", 2)
		time.Sleep(61 * time.Minute) // it is replaced, and its end fails at first
		synctest.Wait()
		if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 1 {
			t.Errorf("%+v", u)
		}
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v", got)
		}
	})
}

func TestARefillKeepsAwayFromAFirstCommand(t *testing.T) {
	warmed(t, pool.Target{Ready: 2}, func(t *testing.T, f *fixture) {
		f.create()
		time.Sleep(warmpool.Cooldown / 2)
		synctest.Wait()
		if h := f.history(); len(h) != 0 {
			t.Errorf("half-way through the pause it did %v", h)
		}
		f.create() // the pool is empty now: that does not wait
		synctest.Wait()
		if got := f.pooled(); got != [2]int{1, 0} {
			t.Errorf("pooled %v", got)
		}
		time.Sleep(warmpool.Cooldown)
		synctest.Wait()
		if got := f.pooled(); got != [2]int{2, 0} {
			t.Errorf("pooled %v after the pause", got)
		}
	})
}

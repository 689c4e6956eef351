package simulate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

func TestEventsComeInOrderOfTimeAndThenOfMaking(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h heap
	var want []event
	for i := range uint64(2000) {
		e := event{at: time.Duration(r.IntN(50)), seq: i}
		h.push(e)
		want = append(want, e)
		if i%3 == 0 { // pops in between keep the order of what is left.
			first := h.pop()
			i := slices.IndexFunc(want, func(e event) bool { return e == first })
			for _, e := range want {
				if e.before(first) {
					t.Fatalf("%+v came before %+v", first, e)
				}
			}
			want = slices.Delete(want, i, i+1)
		}
	}
	slices.SortFunc(want, func(a, b event) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	for _, e := range want {
		if got := h.pop(); got != e {
			t.Fatalf("got %+v, want %+v", got, e)
		}
	}
	if len(h) != 0 {
		t.Errorf("%d are left", len(h))
	}
}

func TestAChangeOfStateMakesEarlierEventsVoid(t *testing.T) {
	n := newNode(Config{}, policies())
	m := n.machine(0, 0)
	n.enter(m, running)
	n.after(time.Second, idled, m)
	n.enter(m, suspended)
	if n.next() || m.idle {
		t.Error("an event of a state that was left happened")
	}
}

func TestJobsWaitForAFreeProcessor(t *testing.T) {
	n := newNode(Config{}, policies())
	var last time.Duration
	for i := range 8 {
		m := n.machine(0, 0)
		n.enter(m, killing)
		n.job(m, time.Second, killed)
		last = n.events[len(n.events)-1].at
		if i < 2 && last > 3*time.Second {
			t.Errorf("job %d of two processors takes %v", i, last)
		}
	}
	if last < 2*time.Second {
		t.Errorf("the eighth of eight jobs takes %v on two processors", last)
	}
	n.now = 20 * time.Second
	if s := n.sample(); s.CPU.Some < 80 {
		t.Errorf("after 20 s with a queue the pressure is %.0f %%", s.CPU.Some)
	}
}

func TestAWarmEntryIsReservedBeforeItIsLaunched(t *testing.T) {
	n := newNode(Config{}, policies())
	f, ok := n.pool.Begin(warmpool.Action{Op: warmpool.Launch, Key: keys[0], Stage: warmpool.Ready}, n.clock())
	if !ok {
		t.Fatal("the launch did not begin")
	}
	all, err := n.ledger.ReserveActive(n.ledger.Capacity())
	if err != nil {
		t.Fatal(err)
	}
	n.launchWarm(f)
	if len(n.live) != 0 || n.memory != 0 || n.jobs != 0 {
		t.Errorf("launched without room: %d machines, %d B, %d jobs", len(n.live), n.memory, n.jobs)
	}
	all.Release()
	for _, s := range n.pool.Stats(n.clock()) {
		if s.InFlight != 0 || s.Failures != 0 {
			t.Errorf("got %+v, want a flight that was cancelled, not failed", s)
		}
	}
}

// crashed runs a busy node up to a crash of the daemon in the middle of work.
func crashed(t *testing.T) *node {
	t.Helper()
	n := newNode(Config{Scenario: Scenario{Rate: 2, Life: time.Minute, Pauses: 0.5, Idle: 0.3, Crash: 24 * time.Hour}, Duration: 20 * time.Minute, Seed: 4}, policies())
	n.start()
	for n.next() {
		n.check()
		states := map[state]int{}
		for _, m := range n.live {
			states[m.state]++
		}
		if states[running] > 5 && states[ready] > 5 && states[launching] > 0 && states[suspended] > 0 && states[pausing]+states[resuming]+states[creating] > 0 {
			n.crash()
			return n
		}
	}
	t.Fatal("nothing was under way at any time")
	return nil
}

func TestAfterACrashEachMachineIsKeptOrEndedAndAccountedFor(t *testing.T) {
	n := crashed(t)
	before := map[string]state{}
	for _, m := range n.live {
		before[m.id] = m.state
	}
	for n.down {
		n.next()
		n.check()
	}
	after := map[string]state{}
	for _, m := range n.live {
		after[m.id] = m.state
	}
	for id, was := range before {
		want := map[state]state{
			running: running, suspended: suspended, ready: ready, prepared: prepared, pausing: running, resuming: suspended,
			creating: killing, launching: killing, raising: killing, killing: killing,
		}[was]
		if after[id] != want {
			t.Errorf("%s was in state %d and is in state %d, want %d", id, was, after[id], want)
		}
	}
	for n.next() {
		n.check()
	}
	n.checkLeftover()
	if len(n.broken) > 0 {
		t.Error(n.broken)
	}
}

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
	n.after(time.Second, grown, m)
	n.enter(m, suspended)
	for n.now < time.Minute && n.next() {
	}
	if m.memory != 0 {
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
		for _, e := range n.events {
			if e.m == m {
				last = e.at
			}
		}
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
	all := n.ledger.Adopt(whole)
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
	n := newNode(Config{Scenario: Scenario{Rate: 0.5, Life: time.Minute, Pauses: 0.5, Crash: 24 * time.Hour}, Duration: 20 * time.Minute, Seed: 4}, policies())
	n.start()
	for n.next() {
		n.check()
		states := map[state]int{}
		for _, m := range n.live {
			states[m.state]++
		}
		if states[running] > 5 && states[ready] > 0 && states[suspended] > 3 && states[pausing] > 0 && states[resuming]+states[creating]+states[launching] > 0 {
			n.crash()
			return n
		}
	}
	t.Fatal("nothing was under way at any time")
	return nil
}

func TestAfterACrashEachMachineBecomesWhatTheRecoveryDecides(t *testing.T) {
	n := crashed(t)
	type was struct {
		state state
		harm  harm
		saved bool
		row   bool
		ends  time.Duration
	}
	before := map[string]was{}
	for i, m := range n.live { // Of each kind there are some.
		switch {
		case m.state == running && m.row:
			m.harm = harm(i % 4)
		case m.state == suspended:
			m.harm = []harm{unharmed, snapshotGone}[i%2]
		default:
			m.harm = unharmed
		}
		before[m.id] = was{m.state, m.harm, m.saved, m.row, m.ends}
	}
	for n.down {
		n.next()
		n.check()
	}
	seen := map[harm]int{}
	after := map[string]*machine{}
	for _, m := range n.live {
		after[m.id] = m
	}
	for id, was := range before {
		want := killing // Without a row, not handed out, or ending.
		switch was.state {
		case running:
			seen[was.harm]++
			switch {
			case was.harm == machineGone, was.harm == agentSilent, n.now >= was.ends:
			case was.harm == networkGone:
				want = pausing
			default:
				want = running
			}
		case pausing:
			want = running
			if was.saved {
				want = pausing // Its machine is ended, and it is paused then.
			}
		case resuming:
			want = pausing
		case suspended:
			seen[was.harm]++
			want = suspended
		}
		if !was.row {
			want = killing
		}
		if got := after[id]; got == nil || got.state != want {
			t.Errorf("%s was %+v and is %+v, want state %d", id, was, got, want)
		}
	}
	for h := unharmed; h <= snapshotGone; h++ {
		if seen[h] == 0 {
			t.Errorf("no sandbox had harm %d", h)
		}
	}
	if n.figures.Quarantined == 0 || n.figures.Lost == 0 || n.figures.Recovered == 0 || n.figures.CleanedUp == 0 {
		t.Errorf("got %+v", n.figures.Counts)
	}
	for n.next() {
		n.check()
	}
	n.checkLeftover()
	if len(n.broken) > 0 {
		t.Error(n.broken)
	}
}

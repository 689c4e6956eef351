package simulate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
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

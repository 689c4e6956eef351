package pageout

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	mib   = 1 << 20
	look  = 10 * time.Second
	after = 30 * time.Second
	lots  = 1 << 40
)

// node is a node with sandboxes that are observed every ten seconds.
type node struct {
	t    *testing.T
	idle *Idle
	now  time.Time
	all  map[string]*Observation
}

func newNode(t *testing.T, ids ...string) *node {
	n := &node{t: t, idle: New(after), now: time.Unix(1000, 0), all: map[string]*Observation{}}
	for _, id := range ids {
		n.all[id] = &Observation{ID: id, Run: 1, Memory: 14 * mib}
	}
	n.observe()
	return n
}

func (n *node) observe() {
	for _, o := range n.all {
		o.At = n.now
		n.idle.Observe(*o)
	}
}

// pass lets time go by, with what each sandbox uses of a processor in ten seconds.
func (n *node) pass(d time.Duration, uses map[string]time.Duration) {
	for end := n.now.Add(d); n.now.Before(end); {
		n.now = n.now.Add(look)
		for id, cpu := range uses {
			n.all[id].CPU += cpu
		}
		n.observe()
	}
}

// out pages out what is due, and returns it.
func (n *node) out() []string {
	ids := n.idle.Due(n.now, lots, false)
	for _, id := range ids {
		n.idle.Done(id, n.now, 7*mib)
		n.all[id].Memory = 7 * mib
	}
	return ids
}

func (n *node) due(want ...string) {
	n.t.Helper()
	if got := n.idle.Due(n.now, lots, false); !slices.Equal(got, want) {
		n.t.Errorf("due are %q, want %q", got, want)
	}
}

func TestASandboxIsPagedOutWhenItWasIdleForTheWait(t *testing.T) {
	n := newNode(t, "a", "b")
	n.pass(20*time.Second, map[string]time.Duration{"b": time.Second})
	n.due()
	n.pass(10*time.Second, nil)
	n.due("a")
	n.pass(20*time.Second, nil)
	n.due("a", "b")
	if got := n.out(); len(got) != 2 || !n.idle.PagedOut("a", time.Time{}) || !n.idle.PagedOut("b", time.Time{}) || n.idle.PagedOut("c", time.Time{}) {
		t.Errorf("paged out: %q", got)
	}
	if n.idle.PagedOut("a", n.now) {
		t.Error("it had traffic")
	}
	n.pass(time.Minute, nil)
	n.due()
	if got, want := n.idle.Figures(), (Figures{PagedOut: 2, Bytes: 14 * mib, Outs: 2}); got != want {
		t.Errorf("figures %+v, want %+v", got, want)
	}
}

func TestNoSandboxThatIsUsedIsPagedOut(t *testing.T) {
	for name, use := range map[string]func(*node, *Observation){
		"it computes":                func(_ *node, o *Observation) { o.CPU += 21 * time.Millisecond },
		"it has traffic":             func(n *node, o *Observation) { o.Traffic = n.now.Add(time.Second) },
		"a lifecycle call is on it":  func(_ *node, o *Observation) { o.Busy = true },
		"it gets another machine":    func(_ *node, o *Observation) { o.Run++ },
		"its processor time is less": func(_ *node, o *Observation) { o.Run, o.CPU = o.Run+1, 0 },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "a")
			for range 20 {
				use(n, n.all["a"])
				n.pass(look, nil)
				for _, pressed := range []bool{false, true} {
					if got := n.idle.Due(n.now, lots, pressed); got != nil {
						t.Fatalf("under pressure %v: %q", pressed, got)
					}
				}
			}
		})
	}
}

func TestWhatAnIdleSandboxUsesIsNotWork(t *testing.T) {
	n := newNode(t, "a")
	n.pass(after, map[string]time.Duration{"a": 19 * time.Millisecond}) // Health checks too.
	n.due("a")
}

func TestUseEndsAPageOut(t *testing.T) {
	for name, use := range map[string]func(*node, *Observation){
		"processor":             func(_ *node, o *Observation) { o.CPU += time.Second },
		"traffic":               func(n *node, o *Observation) { o.Traffic = n.now.Add(time.Second) },
		"a lifecycle call":      func(_ *node, o *Observation) { o.Busy = true },
		"its memory comes back": func(_ *node, o *Observation) { o.Memory += Worth },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "a")
			n.pass(after, nil)
			n.out()
			n.pass(look, nil)
			if !n.idle.PagedOut("a", time.Time{}) {
				t.Fatal("it is not paged out")
			}
			use(n, n.all["a"])
			n.pass(look, nil)
			if f := n.idle.Figures(); n.idle.PagedOut("a", time.Time{}) || f.WakeUps != 1 || f.Bytes != 0 {
				t.Errorf("it counts as paged out: %+v", f)
			}
		})
	}
}

func TestWhatASandboxTouchesAtRestDoesNotEndItsPageOut(t *testing.T) {
	n := newNode(t, "a")
	n.pass(after, nil)
	n.out()
	n.pass(look, nil)
	n.all["a"].Memory += Worth - 1
	n.pass(time.Hour, map[string]time.Duration{"a": time.Millisecond})
	if !n.idle.PagedOut("a", time.Time{}) {
		t.Error("it does not count as paged out any more")
	}
}

// sleeps returns how long after each use a sandbox is paged out that is used every interval.
func sleeps(t *testing.T, interval time.Duration, uses int) (waits []time.Duration) {
	n := newNode(t, "a")
	for range uses {
		n.all["a"].CPU += time.Second
		n.pass(look, nil)
		used := n.now
		for n.now.Sub(used) < interval {
			if len(n.out()) > 0 {
				waits = append(waits, n.now.Sub(used))
			}
			n.pass(look, nil)
		}
	}
	return waits
}

func TestOneThatWakesOftenIsLeftAloneForLonger(t *testing.T) {
	// After the first, whose sleep was shorter than the wait, it is never idle for long enough.
	if waits := sleeps(t, 40*time.Second, 20); len(waits) != 1 || waits[0] != after {
		t.Errorf("paged out %v after its uses, want once", waits)
	}
	if waits := sleeps(t, 10*time.Minute, 6); len(waits) != 6 || slices.Max(waits) != after {
		t.Errorf("one that sleeps long is paged out %v after its uses", waits)
	}
}

func TestTheWaitHasABoundAndGetsShorterAgain(t *testing.T) {
	n := newNode(t, "a")
	s := n.idle.all["a"]
	for range 20 {
		n.idle.Done("a", n.now, mib)
		n.all["a"].CPU += time.Second
		n.pass(look, nil)
	}
	if got := n.idle.wait(s); got != 32*after {
		t.Errorf("it waits %v at most, want %v", got, 32*after)
	}
	for want := 16 * after; want >= after; want /= 2 {
		n.pass(32*after, nil)
		if len(n.out()) != 1 {
			t.Fatalf("it is not paged out in %v", 32*after)
		}
		n.pass(33*after, nil)
		n.all["a"].CPU += time.Second
		n.pass(look, nil)
		if got := n.idle.wait(s); got != want {
			t.Fatalf("after a long sleep it waits %v, want %v", got, want)
		}
	}
}

func TestAPageOutThatFailsIsRepeatedLater(t *testing.T) {
	n := newNode(t, "a")
	n.pass(after, nil)
	n.idle.Failed("a", n.now)
	n.pass(2*after-look, nil)
	n.due()
	n.pass(look, nil)
	n.due("a")
	if f := n.idle.Figures(); f != (Figures{}) {
		t.Errorf("figures %+v", f)
	}
}

func TestPressurePagesAllIdleOnesOutAtOnce(t *testing.T) {
	var ids []string
	for n := range 3 * AtOnce {
		ids = append(ids, fmt.Sprintf("%02d", n))
	}
	n := newNode(t, ids...)
	if got := n.idle.Due(n.now, lots, true); got != nil {
		t.Errorf("of %q nothing is known yet", got)
	}
	n.pass(look, map[string]time.Duration{"05": time.Second})
	n.due()
	if got := n.idle.Due(n.now, lots, true); len(got) != len(ids)-1 || slices.Contains(got, "05") {
		t.Errorf("under pressure: %q", got)
	}
	n.pass(time.Minute, nil)
	if got := n.idle.Due(n.now, lots, false); len(got) != AtOnce || slices.Contains(got, "05") {
		t.Errorf("without it: %q, which is not the %d that are idle longest", got, AtOnce)
	}
}

// One that cannot be paged out must not keep the others waiting at each look.
func TestOneThatFailedWaitsUnderPressureToo(t *testing.T) {
	n := newNode(t, "a", "b")
	n.pass(time.Minute, nil)
	n.idle.Failed("a", n.now)
	if got := n.idle.Due(n.now, lots, true); !slices.Equal(got, []string{"b"}) {
		t.Errorf("due are %q", got)
	}
	n.pass(2*after, nil)
	if got := n.idle.Due(n.now, lots, true); !slices.Contains(got, "a") {
		t.Errorf("after its wait %q are due", got)
	}
	n.idle.Done("a", n.now, mib)
	n.pass(look, map[string]time.Duration{"a": time.Second}) // It is used,
	n.pass(look, nil)                                        // and idle again.
	if got := n.idle.Due(n.now, lots, true); !slices.Contains(got, "a") {
		t.Errorf("its failure is remembered after it succeeded: %q", got)
	}
}

func TestSwapIsNotFilledFurtherThanItsShare(t *testing.T) {
	n := newNode(t, "a", "b", "c")
	n.all["a"].Memory = 100 * mib
	n.pass(after, nil)
	for _, c := range []struct {
		room int64
		want []string
	}{{0, nil}, {13 * mib, nil}, {14 * mib, []string{"b"}}, {30 * mib, []string{"b", "c"}}, {128 * mib, []string{"a", "b", "c"}}} {
		for _, pressed := range []bool{false, true} {
			if got := n.idle.Due(n.now, c.room, pressed); !slices.Equal(got, c.want) {
				t.Errorf("with room for %d bytes, %v: %q, want %q", c.room, pressed, got, c.want)
			}
		}
	}
	for _, c := range []struct{ total, free, want int64 }{
		{0, 0, 0}, {1000, 0, 0}, {1000, 1000, 750}, {1000, 250, 0}, {1000, 251, 1}, {1000, 2000, 750}, {1000, -1, 0}, {-1, 5, 0}, {1 << 62, 1 << 62, 1 << 62 / 100 * 75},
	} {
		if got := Room(c.total, c.free); got != c.want {
			t.Errorf("of %d bytes, %d are free: room for %d, want %d", c.total, c.free, got, c.want)
		}
	}
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	n := newNode(t, "a", "b")
	n.pass(after, nil)
	n.out()
	n.idle.Keep(func(id string) bool { return id == "b" })
	if f := n.idle.Figures(); n.idle.PagedOut("a", time.Time{}) || n.idle.Still("a") || !n.idle.Still("b") || f.PagedOut != 1 || f.Outs != 2 {
		t.Errorf("figures %+v", f)
	}
	n.idle.Done("a", n.now, mib)
	n.idle.Failed("a", n.now)
	n.due()
}

func TestAnObservationOutOfOrderChangesNothing(t *testing.T) {
	n := newNode(t, "a")
	n.pass(after, nil)
	n.idle.Observe(Observation{ID: "a", Run: 1, At: n.now.Add(-time.Second), CPU: time.Hour})
	n.due("a")
}

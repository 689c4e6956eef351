package capacity

import (
	"errors"
	"slices"
	"testing"
)

// pool is a ledger of six sandboxes with warm entries, most of them named after
// their place in the order of eviction.
type pool struct {
	*Queue
	warm    map[string]*Reservation
	yielded []string
}

func newPool(t *testing.T, n int64, ids ...string) *pool {
	p := &pool{warm: map[string]*Reservation{}}
	l := NewLedger(Budget{Sandboxes: n})
	p.Queue = NewQueue(l, QueueConfig{OnYield: func(id string) {
		if !l.mu.TryLock() {
			t.Error("OnYield is called with the lock held")
			return
		}
		l.mu.Unlock()
		p.yielded = append(p.yielded, id)
	}})
	for _, id := range ids {
		p.warm[id] = warmUp(t, l, id, WarmKey{Repo: id[:1]}, one)
	}
	return p
}

func (p *pool) expect(t *testing.T, ids ...string) {
	t.Helper()
	if !slices.Equal(p.yielded, ids) {
		t.Errorf("told to yield: %v, want %v", p.yielded, ids)
	}
}

func TestWarmEntriesYieldToActiveWorkInOrder(t *testing.T) {
	p := newPool(t, 4, "c1", "a1", "a2", "b1")
	first := ask(t, p.Queue, "t", Budget{Sandboxes: 2})
	p.expect(t, "a1", "a2") // Exactly the needed ones.
	if !p.warm["a1"].Yielding() || !p.warm["a2"].Yielding() || p.warm["b1"].Yielding() {
		t.Error("the reservations do not know what was said")
	}
	if err := p.warm["a1"].Promote(); !errors.Is(err, ErrYielding) {
		t.Errorf("promotion of what yields: %v", err)
	}
	second := ask(t, p.Queue, "t", one)
	p.warm["a1"].Release()
	if p.warm["a1"].Yielding() {
		t.Error("released, and yields still")
	}
	if admitted(first) {
		t.Error("admitted before the second entry went")
	}
	p.expect(t, "a1", "a2") // Once each.
	p.warm["a2"].Release()
	if !admitted(first) || admitted(second) {
		t.Error("want the first admitted, and the second waiting for its turn to evict")
	}
	p.expect(t, "a1", "a2", "b1")
	if err := p.warm["c1"].Promote(); err != nil {
		t.Errorf("an entry that is not needed: %v", err)
	}
	p.warm["b1"].Release()
	if !admitted(second) || p.Stats().Yielded != 3 {
		t.Errorf("stats %+v", p.Stats())
	}
}

func TestNothingYieldsInVain(t *testing.T) {
	p := newPool(t, 4, "a1", "a2")
	active, err := reserve(p.ledger, Budget{Sandboxes: 2})
	if err != nil {
		t.Fatal(err)
	}
	large := ask(t, p.Queue, "t", Budget{Sandboxes: 3})
	ask(t, p.Queue, "u", one) // Behind it: not the next in line, so no entry yields to it either.
	p.expect(t)
	if got := p.ledger.Active(); got.Sandboxes != 2 {
		t.Errorf("active work was evicted: %+v", got)
	}
	active.Release() // Now the yield of one of the two is enough.
	p.expect(t, "a1")
	p.warm["a1"].Release()
	if !admitted(large) {
		t.Error("still waits")
	}
}

func TestCapacityThatIsOnItsWayIsNotAskedForTwice(t *testing.T) {
	p := newPool(t, 2, "a1", "b1")
	gone := ask(t, p.Queue, "t", one)
	gone.Cancel() // The entry was asked to yield and still goes.
	next := ask(t, p.Queue, "t", one)
	p.expect(t, "a1")
	p.warm["a1"].Release()
	if !admitted(next) {
		t.Error("still waits")
	}
}

func TestAnOwnerMayReleaseFromWithinOnYield(t *testing.T) {
	l := NewLedger(Budget{Sandboxes: 2})
	entries := map[string]*Reservation{}
	var order []string
	q := NewQueue(l, QueueConfig{OnYield: func(id string) {
		order = append(order, id)
		entries[id].Release()
	}})
	for _, id := range []string{"b", "a"} {
		entries[id] = warmUp(t, l, id, WarmKey{Template: id}, one)
	}
	if !admitted(ask(t, q, "t", Budget{Sandboxes: 2})) || !slices.Equal(order, []string{"a", "b"}) {
		t.Errorf("not admitted at once; order %v", order)
	}
}

func TestWithoutAnOwnerToTellNothingYields(t *testing.T) {
	l := NewLedger(one)
	r := warmUp(t, l, "a", WarmKey{}, one)
	q := NewQueue(l, QueueConfig{})
	waiting := ask(t, q, "t", one)
	if err := r.Promote(); err != nil {
		t.Error(err)
	}
	r.Release()
	if !admitted(waiting) {
		t.Error("still waits")
	}
}

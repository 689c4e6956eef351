package capacity

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

var one = Budget{Sandboxes: 1}

func ask(t *testing.T, q *Queue, tenant string, b Budget) *Ticket {
	t.Helper()
	ticket, err := q.Ask(tenant, b)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func admitted(t *Ticket) bool {
	select {
	case <-t.Admitted():
		return true
	default:
		return false
	}
}

// full returns a queue before a ledger of n sandboxes, all of them reserved.
func full(t *testing.T, n int64, cfg QueueConfig) (*Queue, *Reservation) {
	t.Helper()
	l := NewLedger(Budget{Sandboxes: n})
	r, err := reserve(l, Budget{Sandboxes: n})
	if err != nil {
		t.Fatal(err)
	}
	return NewQueue(l, cfg), r
}

func TestAskAdmitsAtOnceWhatFits(t *testing.T) {
	q := NewQueue(NewLedger(Budget{Sandboxes: 1}), QueueConfig{MaxPending: -1})
	ticket := ask(t, q, "a", one)
	if !admitted(ticket) || ticket.Position() != 0 {
		t.Fatalf("position %d", ticket.Position())
	}
	r := ticket.Reservation()
	if r == nil || r != ticket.Reservation() || holds(r) != one {
		t.Fatalf("reservation %+v", r)
	}
	var busy *FullError
	if _, err := q.Ask("a", one); !errors.As(err, &busy) || busy.MaxPending != 0 {
		t.Errorf("with no waiters allowed: %v", err)
	}
}

func TestAskRefusesWithAReason(t *testing.T) {
	q, _ := full(t, 4, QueueConfig{MaxPending: 3})
	var never *Error
	if _, err := q.Ask("a", Budget{Sandboxes: 5}); !errors.As(err, &never) || !never.Never || never.Available != 4 {
		t.Errorf("oversized: %v", err)
	}
	ask(t, q, "a", one)
	ask(t, q, "a", one)
	var busy *FullError
	if _, err := q.Ask("a", one); !errors.As(err, &busy) || *busy != (FullError{MaxPending: 1, Pending: 2, PerTenant: true}) {
		t.Errorf("a third of one tenant: %v", err)
	}
	ask(t, q, "b", one)
	if _, err := q.Ask("c", one); !errors.As(err, &busy) || *busy != (FullError{MaxPending: 3, Pending: 3}) {
		t.Errorf("a fourth of all: %v", err)
	}
	s := q.Stats()
	if s.Oversized != 1 || s.Full != 2 || s.Pending != 3 || s.PendingByTenant["a"] != 2 || s.PendingByTenant["b"] != 1 {
		t.Errorf("stats %+v", s)
	}
}

// A tenant that asks for ever leaves places to others, and so do several: each
// that comes later finds one.
func TestNoTenantFillsTheQueue(t *testing.T) {
	const places = 60
	q, _ := full(t, 1, QueueConfig{MaxPending: places})
	flood := func(tenant string) (got int) {
		for {
			if _, err := q.Ask(tenant, one); err != nil {
				var busy *FullError
				if !errors.As(err, &busy) || !busy.PerTenant && busy.Pending < places {
					t.Fatal(err)
				}
				return got
			}
			got++
		}
	}
	if got := flood("first"); got != places/2 {
		t.Errorf("one alone got %d of %d places", got, places)
	}
	for i := range 4 {
		if got := flood(fmt.Sprint(i)); got == 0 {
			t.Errorf("tenant %d of those that came later got none", i+1)
		}
	}
	ask(t, q, "last", one)
}

func TestWhatWouldFitMayNotWaitInAFullQueueEither(t *testing.T) {
	q := NewQueue(NewLedger(Budget{Sandboxes: 2}), QueueConfig{MaxPending: 1})
	ask(t, q, "a", one)
	ask(t, q, "a", Budget{Sandboxes: 2})
	var busy *FullError
	if _, err := q.Ask("a", one); !errors.As(err, &busy) || q.Stats().Pending != 1 {
		t.Errorf("got %v with %d waiting", err, q.Stats().Pending)
	}
}

func TestRefusingNewWorkLeavesWhoWaits(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	waiting := ask(t, q, "a", one)
	q.SetRefuse("memory pressure")
	var refused *RefusedError
	if _, err := q.Ask("a", one); !errors.As(err, &refused) || refused.Reason != "memory pressure" {
		t.Errorf("got %v", err)
	}
	var never *Error
	if _, err := q.Ask("a", Budget{Sandboxes: 2}); !errors.As(err, &never) {
		t.Errorf("a request that can never fit must be refused: %v", err)
	}
	r.Release()
	if !admitted(waiting) {
		t.Error("the waiting request was not served")
	}
	q.SetRefuse("")
	ask(t, q, "a", one)
	if s := q.Stats(); s.Refused != 1 || s.Pending != 1 || s.Admitted != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestOrderOfArrivalHoldsPerTenant(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	names := map[*Ticket]string{}
	var waiting []*Ticket
	for i := range 3 {
		for _, tenant := range []string{"a", "b", "c"} {
			if tenant == "c" && i > 0 {
				continue
			}
			ticket := ask(t, q, tenant, one)
			names[ticket] = fmt.Sprint(tenant, i)
			waiting = append(waiting, ticket)
		}
	}
	slices.SortFunc(waiting, func(a, b *Ticket) int { return a.Position() - b.Position() })
	var foretold, served []string
	for _, ticket := range waiting {
		foretold = append(foretold, names[ticket])
	}
	for len(served) < len(names) {
		r.Release()
		for _, ticket := range waiting {
			if admitted(ticket) && !slices.Contains(served, names[ticket]) {
				served = append(served, names[ticket])
				r = ticket.Reservation()
			}
		}
	}
	want := []string{"a0", "b0", "c0", "a1", "b1", "a2", "b2"}
	if !slices.Equal(served, want) || !slices.Equal(foretold, want) {
		t.Errorf("served %v, foretold %v, want %v", served, foretold, want)
	}
}

func TestABusyTenantDelaysAnotherByOneAtMost(t *testing.T) {
	q, r := full(t, 1, QueueConfig{})
	var busy []*Ticket
	for range 100 {
		busy = append(busy, ask(t, q, "busy", one))
	}
	for _, served := range []int{0, 1, 50} {
		for i := range served {
			r.Release()
			r = busy[i].Reservation()
		}
		busy = busy[served:]
		other := ask(t, q, "other", one)
		if got := other.Position(); got != 2 {
			t.Fatalf("position %d behind %d of another tenant", got, len(busy))
		}
		r.Release()
		r = busy[0].Reservation()
		busy = busy[1:]
		r.Release()
		if r = other.Reservation(); r == nil {
			t.Fatal("the other tenant's turn was missed")
		}
	}
}

func TestALargeRequestIsNeverStarvedBySmallOnes(t *testing.T) {
	q, all := full(t, 4, QueueConfig{})
	all.Release()
	var running []*Ticket
	for range 4 {
		running = append(running, ask(t, q, "small", one))
	}
	large := ask(t, q, "large", Budget{Sandboxes: 4})
	for i, ticket := range running { // As each small one ends, the next comes.
		ticket.Reservation().Release()
		if small := ask(t, q, "small", one); admitted(small) {
			t.Fatalf("release %d: a small one overtook", i)
		}
		if _, err := reserve(q.ledger, one); i < 3 && !errors.Is(err, ErrWaiting) {
			t.Fatalf("release %d: somebody went round the queue: %v", i, err)
		}
		if _, err := q.ledger.ReserveWarm(WarmEntry{Budget: one}); i < 3 && !errors.Is(err, ErrWaiting) {
			t.Fatalf("release %d: a refill took what active work waits for: %v", i, err)
		}
	}
	if !admitted(large) {
		t.Error("the large one still waits")
	}
}

func TestPositionIsTheOrderOfService(t *testing.T) {
	q, _ := full(t, 1, QueueConfig{})
	a0, a1, a2 := ask(t, q, "a", one), ask(t, q, "a", one), ask(t, q, "a", one)
	b0 := ask(t, q, "b", one)
	c0, c1 := ask(t, q, "c", one), ask(t, q, "c", one)
	expect := func(want ...int) {
		t.Helper()
		var got []int
		for _, ticket := range []*Ticket{a0, b0, c0, a1, c1, a2} {
			got = append(got, ticket.Position())
		}
		if !slices.Equal(got, want) {
			t.Errorf("positions %v, want %v", got, want)
		}
	}
	expect(1, 2, 3, 4, 5, 6)
	a0.Cancel() // The turn is the tenant's.
	expect(0, 2, 3, 1, 5, 4)
	b0.Cancel()
	expect(0, 0, 2, 1, 4, 3)
}

func TestEveryKindOfReleaseServesTheNext(t *testing.T) {
	for name, free := range map[string]func(q *Queue, r *Reservation, head *Ticket){
		"release":        func(_ *Queue, r *Reservation, _ *Ticket) { r.Release() },
		"launched":       func(_ *Queue, r *Reservation, _ *Ticket) { r.Launched() },
		"head cancelled": func(_ *Queue, _ *Reservation, head *Ticket) { head.Cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(Budget{Sandboxes: 4, Launches: 3})
			r, err := reserve(l, Budget{Sandboxes: 1, Launches: 3})
			if err != nil {
				t.Fatal(err)
			}
			q := NewQueue(l, QueueConfig{})
			var head *Ticket
			want := Budget{Launches: 1}
			if name == "head cancelled" {
				head, want = ask(t, q, "a", Budget{Launches: 3}), one
			}
			ticket := ask(t, q, "a", want)
			if admitted(ticket) {
				t.Fatal("admitted too early")
			}
			free(q, r, head)
			if !admitted(ticket) {
				t.Error("still waits")
			}
		})
	}
}

func TestASecondQueueIsAMistake(t *testing.T) {
	l := NewLedger(whole)
	NewQueue(l, QueueConfig{})
	defer func() {
		if recover() == nil {
			t.Error("want a panic")
		}
	}()
	NewQueue(l, QueueConfig{})
}

func TestCancelledOrTakenNeverBoth(t *testing.T) {
	for range 200 {
		q, r := full(t, 1, QueueConfig{})
		ticket := ask(t, q, "a", one)
		var taken *Reservation
		var wg sync.WaitGroup
		wg.Go(func() { r.Release() })
		wg.Go(ticket.Cancel)
		wg.Go(func() { taken = ticket.Reservation() })
		wg.Wait()
		if held := q.ledger.Active() == one; held != (taken != nil) {
			t.Fatalf("held %v, taken %v", held, taken != nil)
		}
		if q.Stats().Pending != 0 {
			t.Fatal("the ticket still waits")
		}
	}
}

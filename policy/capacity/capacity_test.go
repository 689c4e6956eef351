package capacity

import (
	"errors"
	"math"
	"sync"
	"testing"
)

var whole = Budget{CPUs: 4000, MemoryBytes: 8 << 30, DiskBytes: 100 << 30, Sandboxes: 4, Launches: 2}

func TestReserveNamesTheFirstResourceThatDoesNotFit(t *testing.T) {
	for _, tc := range []struct {
		name     string
		want     Budget
		resource string
		never    bool
	}{
		{"all of it fits", whole, "", false},
		{"processor comes first", Budget{5000, 9 << 30, 0, 9, 9}, "cpu", true},
		{"then memory", Budget{1, 9 << 30, 101 << 30, 9, 9}, "memory", true},
		{"then disk", Budget{1, 1, 101 << 30, 9, 9}, "disk", true},
		{"then sandboxes", Budget{1, 1, 1, 5, 9}, "sandboxes", true},
		{"then launches", Budget{1, 1, 1, 1, 3}, "launches", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := NewLedger(whole)
			_, err := reserve(l, tc.want)
			var full *Error
			switch {
			case tc.resource == "" && err != nil:
				t.Fatal(err)
			case tc.resource == "":
				return
			case !errors.As(err, &full):
				t.Fatalf("got %v, want *Error", err)
			}
			if full.Resource != tc.resource || full.Never != tc.never {
				t.Errorf("got %+v", full)
			}
			if l.Active() != (Budget{}) {
				t.Errorf("a refused request reserved %+v", l.Active())
			}
		})
	}
}

func TestWaitingHelpsUnlessTheRequestIsLargerThanTheWhole(t *testing.T) {
	l := NewLedger(whole)
	r, err := reserve(l, Budget{Sandboxes: 4})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reserve(l, Budget{Sandboxes: 1})
	var full *Error
	if !errors.As(err, &full) || full.Never || full.Available != 0 {
		t.Fatalf("got %v", err)
	}
	r.Release()
	if _, err := reserve(l, Budget{Sandboxes: 1}); err != nil {
		t.Errorf("after the release: %v", err)
	}
}

func TestReleaseIsIdempotent(t *testing.T) {
	l := NewLedger(whole)
	a, _ := reserve(l, Budget{CPUs: 1000, Sandboxes: 1})
	reserve(l, Budget{CPUs: 500, Sandboxes: 1})
	if !a.Release() || a.Release() {
		t.Error("want the first release to count and the second not")
	}
	if got := l.Active(); got != (Budget{CPUs: 500, Sandboxes: 1}) {
		t.Errorf("active %+v", got)
	}
}

func TestAdoptCountsWhatDoesNotFit(t *testing.T) {
	l := NewLedger(Budget{Sandboxes: 1})
	l.Adopt(Budget{Sandboxes: 1})
	r := l.Adopt(Budget{Sandboxes: 1})
	if got := l.Active().Sandboxes; got != 2 {
		t.Errorf("active %d", got)
	}
	r.Release()
	if _, err := reserve(l, Budget{Sandboxes: 1}); err == nil {
		t.Error("a full ledger admitted one more")
	}
}

func TestAdoptOfTooMuchIsGivenBackExactly(t *testing.T) {
	const most = math.MaxInt64
	l := NewLedger(Budget{Sandboxes: 1, DiskBytes: most})
	first := l.Adopt(Budget{Sandboxes: most - 1, DiskBytes: -7})
	second := l.Adopt(Budget{Sandboxes: 5})
	if got := l.Usage(); got.Active != (Budget{Sandboxes: most}) || got.Available != (Budget{DiskBytes: most}) || holds(second) != one {
		t.Errorf("got %+v", got)
	}
	first.Release()
	if got := l.Active(); got != (Budget{Sandboxes: 1}) {
		t.Errorf("after the first: %+v", got)
	}
	second.Release()
	if got := l.Active(); got != (Budget{}) {
		t.Errorf("after both: %+v", got)
	}
}

func TestNegativeRequestsAreNoWayToGetMore(t *testing.T) {
	l := NewLedger(whole)
	q := NewQueue(l, QueueConfig{})
	for _, b := range []Budget{{CPUs: -1}, {MemoryBytes: -1, CPUs: 1}, {DiskBytes: math.MinInt64}, {Sandboxes: -1}, {Launches: -1}} {
		if _, err := reserve(l, b); !errors.Is(err, ErrNegative) {
			t.Errorf("active %+v: %v", b, err)
		}
		if _, err := l.ReserveWarm(WarmEntry{Budget: b}); !errors.Is(err, ErrNegative) {
			t.Errorf("warm %+v: %v", b, err)
		}
		if _, err := q.Ask("t", b); !errors.Is(err, ErrNegative) {
			t.Errorf("ask %+v: %v", b, err)
		}
	}
	if got := l.Usage().Available; got != whole {
		t.Errorf("available %+v", got)
	}
}

func TestBudgetArithmeticSaturates(t *testing.T) {
	most := Budget{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	b := Budget{1, 2, 3, 4, 5}
	if got := most.Plus(b); got != most {
		t.Errorf("plus %+v", got)
	}
	if got := b.Minus(Budget{0, 1, 3, 5, 6}); got != (Budget{1, 1, 0, 0, 0}) {
		t.Errorf("minus %+v", got)
	}
	if got := b.Min(Budget{5, 4, 3, 2, 1}); got != (Budget{1, 2, 3, 2, 1}) {
		t.Errorf("min %+v", got)
	}
}

func TestConcurrentReservationsNeverExceedCapacity(t *testing.T) {
	l := NewLedger(Budget{Sandboxes: 7})
	var mu sync.Mutex
	var won []*Reservation
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if r, err := reserve(l, Budget{Sandboxes: 1}); err == nil {
				mu.Lock()
				won = append(won, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(won) != 7 {
		t.Errorf("%d of 50 won, want 7", len(won))
	}
	for _, r := range won {
		wg.Go(func() { r.Release() })
	}
	wg.Wait()
	if l.Active() != (Budget{}) {
		t.Errorf("left over: %+v", l.Active())
	}
}

// reserve takes b for active work at once, as an empty queue does.
func reserve(l *Ledger, b Budget) (*Reservation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.admissible(b); err != nil {
		return nil, err
	}
	return l.activate(b), nil
}

// holds returns what a reservation holds: nothing after its release.
func holds(r *Reservation) Budget {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.budget
}

package capacity

import (
	"errors"
	"slices"
	"testing"
)

func warmUp(t *testing.T, l *Ledger, id string, key WarmKey, b Budget) *Reservation {
	t.Helper()
	r, err := l.ReserveWarm(WarmEntry{ID: id, Key: key, Budget: b})
	if err != nil {
		t.Fatalf("warm entry %s: %v", id, err)
	}
	return r
}

func TestPromotionNeverDipsNorDoubles(t *testing.T) {
	b := Budget{CPUs: 1000, MemoryBytes: 1 << 30, Sandboxes: 1}
	l := NewLedger(b) // Room for one: a second reservation in between would fail, a gap would let one in.
	r := warmUp(t, l, "w", WarmKey{}, b)
	if got := l.Usage(); got.Warm != b || got.Active != (Budget{}) || got.Available != (Budget{}) {
		t.Fatalf("warm: %+v", got)
	}
	if err := r.Promote(); err != nil {
		t.Fatal(err)
	}
	if got := l.Usage(); got.Warm != (Budget{}) || got.Active != b || got.Available != (Budget{}) {
		t.Fatalf("promoted: %+v", got)
	}
	if err := r.Promote(); !errors.Is(err, ErrNotWarm) {
		t.Errorf("second promotion: %v", err)
	}
	if !r.Release() || r.Release() {
		t.Error("want one release")
	}
	if err := r.Promote(); !errors.Is(err, ErrNotWarm) {
		t.Errorf("promotion of what is released: %v", err)
	}
	if got := l.Usage(); got.Active != (Budget{}) || got.Warm != (Budget{}) {
		t.Errorf("released: %+v", got)
	}
}

func TestNobodySlipsInDuringAPromotion(t *testing.T) {
	one := Budget{Sandboxes: 1}
	for range 200 {
		l := NewLedger(one)
		r := warmUp(t, l, "w", WarmKey{}, one)
		done := make(chan error, 1)
		go func() {
			_, err := reserve(l, one)
			done <- err
		}()
		if err := r.Promote(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil {
			t.Fatal("somebody had the entry's capacity while it was promoted")
		}
	}
}

func TestLaunchedGivesBackTheLaunchOnceAndOnlyThat(t *testing.T) {
	l := NewLedger(whole)
	b := Budget{CPUs: 1000, Sandboxes: 1, Launches: 1}
	kept := Budget{CPUs: 1000, Sandboxes: 1}
	a, err := reserve(l, b)
	if err != nil {
		t.Fatal(err)
	}
	w := warmUp(t, l, "w", WarmKey{}, b)
	if _, err := reserve(l, Budget{Launches: 1}); err == nil {
		t.Error("a third launch at the same time")
	}
	if !a.Launched() || a.Launched() || !w.Launched() || w.Launched() {
		t.Error("want each to give back once")
	}
	if got := l.Usage(); got.Active != kept || got.Warm != kept || holds(a) != kept || holds(w) != kept {
		t.Errorf("launched: %+v", got)
	}
	if err := w.Promote(); err != nil {
		t.Fatal(err)
	}
	a.Release()
	w.Release()
	if a.Launched() || l.Active() != (Budget{}) || holds(a) != (Budget{}) {
		t.Errorf("released: %+v", l.Active())
	}
}

func TestWarmEntryIDsAreUniqueWhileWarm(t *testing.T) {
	l := NewLedger(whole)
	r := warmUp(t, l, "w", WarmKey{}, Budget{})
	if _, err := l.ReserveWarm(WarmEntry{ID: "w"}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("got %v", err)
	}
	if err := r.Promote(); err != nil {
		t.Fatal(err)
	}
	warmUp(t, l, "w", WarmKey{}, Budget{})
}

func TestPlanEvictsInOrderAndOnlyWhatIsNeeded(t *testing.T) {
	a, b, c := WarmKey{"a", "z", "z"}, WarmKey{"b", "a", "z"}, WarmKey{"b", "b", "a"}
	cpus := func(n int64) Budget { return Budget{CPUs: n} }
	type entry struct {
		id  string
		key WarmKey
		b   Budget
	}
	for _, tc := range []struct {
		name    string
		active  int64
		entries []entry
		want    Budget
		evict   []string
		err     string
	}{
		{name: "nothing to do", active: 900, want: cpus(100)},
		{name: "repository, then template, then profile",
			entries: []entry{{"4", c, cpus(200)}, {"3", b, cpus(200)}, {"1", a, cpus(200)}, {"2", a, cpus(200)}},
			want:    cpus(950), evict: []string{"1", "2", "3", "4"}},
		{name: "first in, first out within a key",
			entries: []entry{{"z", a, cpus(300)}, {"y", a, cpus(300)}, {"x", a, cpus(300)}},
			want:    cpus(600), evict: []string{"z", "y"}},
		{name: "no more than needed",
			entries: []entry{{"1", a, cpus(300)}, {"2", b, cpus(300)}, {"3", c, cpus(300)}},
			want:    cpus(101), evict: []string{"1"}},
		{name: "what gives nothing back that lacks stays",
			entries: []entry{{"1", a, Budget{DiskBytes: 5}}, {"2", b, cpus(900)}},
			want:    cpus(1000), evict: []string{"2"}},
		{name: "a small one stays where a later, larger one has to go anyway",
			entries: []entry{{"1", a, cpus(100)}, {"2", b, cpus(800)}},
			want:    cpus(900), evict: []string{"2"}},
		{name: "active work stays", active: 500,
			entries: []entry{{"1", a, cpus(500)}},
			want:    cpus(501), err: "not enough cpu: 501 requested, 500 available"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := NewLedger(Budget{CPUs: 1000, DiskBytes: 10})
			if _, err := reserve(l, cpus(tc.active)); err != nil {
				t.Fatal(err)
			}
			for _, e := range tc.entries {
				warmUp(t, l, e.id, e.key, e.b)
			}
			before := l.Usage()
			for range 2 { // It is pure: the second answer is the first.
				l.mu.Lock()
				evict, err := l.plan(tc.want)
				l.mu.Unlock()
				if (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
					t.Fatalf("err %v, want %q", err, tc.err)
				}
				var ids []string
				for _, e := range evict {
					ids = append(ids, e.id)
				}
				if !slices.Equal(ids, tc.evict) {
					t.Errorf("evict %v, want %v", ids, tc.evict)
				}
			}
			if got := l.Usage(); got != before {
				t.Errorf("changed from %+v to %+v", before, got)
			}
		})
	}
}

func TestPlanSaysWhatIsTooLargeForEver(t *testing.T) {
	_, err := NewLedger(Budget{CPUs: 1}).plan(Budget{CPUs: 2})
	var full *Error
	if !errors.As(err, &full) || !full.Never {
		t.Errorf("got %v", err)
	}
}

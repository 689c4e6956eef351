package warmpool

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	t0   = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	keyA = Key{Repo: "r", Template: "a"}
	keyB = Key{Repo: "r", Template: "b"}
	keyC = Key{Repo: "s", Template: "a"}
)

// at is a moment some seconds after t0.
func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

// newPool has snapshot "v1" for keys A, B and C.
func newPool(targets map[Key]Target) *Pool {
	p := &Pool{}
	for _, k := range []Key{keyA, keyB, keyC} {
		p.SetSnapshot(k, "v1")
		p.SetTarget(k, targets[k])
	}
	return p
}

func put(t *testing.T, p *Pool, k Key, stage Stage, since time.Time, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := give(p, Entry{ID: id, Key: k, Stage: stage, Snapshot: "v1", Since: since}); err != nil {
			t.Fatal(err)
		}
	}
}

func begin(t *testing.T, p *Pool, a Action, now time.Time) *Flight {
	t.Helper()
	f, ok := p.Begin(a, now)
	if !ok {
		t.Fatalf("begin %v: refused", a)
	}
	return f
}

func stats(t *testing.T, p *Pool, k Key, now time.Time) Stats {
	t.Helper()
	for _, s := range p.Stats(now) {
		if s.Key == k {
			return s
		}
	}
	t.Fatalf("no stats of %v", k)
	return Stats{}
}

func TestCheckoutIsFirstInFirstOutAndReadyBeforePrepared(t *testing.T) {
	p := newPool(nil)
	put(t, p, keyA, Prepared, t0, "p1", "p2")
	put(t, p, keyA, Ready, t0, "r1", "r2")
	put(t, p, keyB, Ready, t0, "other")
	for _, want := range []string{"r1", "r2", "p1", "p2"} {
		if e, ok := p.Checkout(keyA, t0); !ok || e.ID != want {
			t.Errorf("got %q %v, want %q", e.ID, ok, want)
		}
	}
	if e, ok := p.Checkout(keyA, t0); ok {
		t.Errorf("an empty key gave %+v", e)
	}
	if s := stats(t, p, keyA, t0); s.Hits != 2 || s.Misses != 3 {
		t.Errorf("got %d hits and %d misses, want 2 and 3: a prepared entry is a miss of the ready tier", s.Hits, s.Misses)
	}
}

func TestCheckoutOfAnEmptyPoolIsNoneAndLeavesNoTrace(t *testing.T) {
	var p Pool
	for i := range 1000 {
		if _, ok := p.Checkout(Key{Template: fmt.Sprint(i)}, t0); ok {
			t.Fatal("an empty pool gave something")
		}
	}
	if got := p.Stats(t0); len(got) != 0 {
		t.Errorf("%d keys that were never set are kept", len(got))
	}
}

func TestStaleAndTooOldEntriesAreNeverHandedOut(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 9, MaxAge: time.Minute}})
	put(t, p, keyA, Ready, t0, "old")
	put(t, p, keyA, Ready, at(10), "young")
	if e, ok := p.Checkout(keyA, at(60)); !ok || e.ID != "young" {
		t.Errorf("got %+v %v, want the young one", e, ok)
	}
	put(t, p, keyA, Ready, at(60), "v1")
	p.SetSnapshot(keyA, "v2")
	if e, ok := p.Checkout(keyA, at(60)); ok {
		t.Errorf("an entry of an earlier snapshot was handed out: %+v", e)
	}
}

func TestWithoutAMaximumAgeNothingIsTooOld(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 2}})
	put(t, p, keyA, Ready, time.Time{}, "unknown")
	put(t, p, keyA, Ready, t0, "old")
	expect(t, p, t0.AddDate(50, 0, 0), Unlimited, "")
	for _, want := range []string{"unknown", "old"} {
		if e, ok := p.Checkout(keyA, t0.AddDate(50, 0, 0)); !ok || e.ID != want {
			t.Errorf("got %+v %v, want %q", e, ok, want)
		}
	}
}

func TestAnEntryIsInThePoolOnce(t *testing.T) {
	p := newPool(nil)
	put(t, p, keyA, Ready, t0, "x")
	if err := give(p, Entry{ID: "x", Key: keyB, Snapshot: "v1"}); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if err := give(p, Entry{ID: "y", Key: keyB, Stage: 7}); err == nil {
		t.Error("an unknown stage was taken")
	}
	f := begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, t0)
	if err := f.Done("x", t0); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if e, ok := p.Remove("x"); !ok || e.Key != keyA {
		t.Errorf("got %+v %v", e, ok)
	}
	if _, ok := p.Remove("x"); ok {
		t.Error("removed twice")
	}
}

func TestOneOfCheckoutRaiseAndRetireGetsTheEntry(t *testing.T) {
	for range 50 {
		p := newPool(nil)
		put(t, p, keyA, Prepared, t0, "x")
		var mu sync.Mutex
		won := 0
		count := func(ok bool) {
			mu.Lock()
			defer mu.Unlock()
			if ok {
				won++
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, ok := p.Checkout(keyA, t0); count(ok) })
		wg.Go(func() {
			_, ok := p.Begin(Action{Op: Raise, Key: keyA, Stage: Ready, ID: "x"}, t0)
			count(ok)
		})
		wg.Go(func() { _, ok := p.Begin(Action{Op: Retire, Key: keyA, ID: "x"}, t0); count(ok) })
		wg.Go(func() { _, ok := p.Remove("x"); count(ok) })
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d callers got the entry", won)
		}
	}
}

func TestConcurrentCheckoutsNeverShareAnEntry(t *testing.T) {
	p := newPool(nil)
	for i := range 200 {
		put(t, p, keyA, Stage(i%2), t0, fmt.Sprint(i))
	}
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				e, ok := p.Checkout(keyA, t0)
				if !ok {
					return
				}
				mu.Lock()
				got = append(got, e.ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 200 || len(got) != 200 {
		t.Errorf("%d checkouts of %d entries, want 200 of 200", len(got), n)
	}
}

func TestAKeyThatIsDoneWithIsForgotten(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 1}})
	f := begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, t0)
	p.SetTarget(keyA, Target{})
	p.SetSnapshot(keyA, "")
	p.Plan(t0, Unlimited)
	if s := stats(t, p, keyA, t0); s.InFlight != 1 {
		t.Fatalf("a key with a launch under way: %+v", s)
	}
	if err := f.Done("x", t0); err != nil {
		t.Fatal(err)
	}
	plan := p.Plan(t0, Unlimited)
	if len(plan) != 1 || plan[0].Op != Retire || plan[0].Why != StaleSnapshot {
		t.Fatalf("got %v, want x retired", plan)
	}
	begin(t, p, plan[0], t0)
	p.Plan(t0, Unlimited)
	if got := p.Stats(t0); len(got) != 2 {
		t.Errorf("%d keys are left, want B and C", len(got))
	}
	if _, ok := p.Begin(Action{Op: Launch, Key: keyA, Stage: Ready}, t0); ok {
		t.Error("a launch without a snapshot began")
	}
}

func TestStatsDescribeTheKey(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 3, MaxAge: time.Hour}})
	put(t, p, keyA, Ready, t0, "a", "b")
	put(t, p, keyA, Prepared, at(10), "c")
	if err := give(p, Entry{ID: "stale", Key: keyA, Stage: Ready, Snapshot: "v0", Since: at(20)}); err != nil {
		t.Fatal(err)
	}
	done := begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, at(20))
	begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, at(20))
	if err := done.Done("d", at(22)); err != nil {
		t.Fatal(err)
	}
	p.Checkout(keyA, at(30))
	want := Stats{
		Key: keyA, Target: Target{Ready: 3, MaxAge: time.Hour},
		Counters: Counters{Hits: 1, Refills: 1, RefillTime: 2 * time.Second},
		Ready:    2, Prepared: 1, Unfit: 1, InFlight: 1, Oldest: 30 * time.Second,
	}
	if got := stats(t, p, keyA, at(30)); got != want {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	put(t, p, keyB, Ready, at(30), "e")
	if ready, prepared := p.Depth(at(30)); ready != 4 || prepared != 1 {
		t.Errorf("depth %d and %d, want 4 with the one in flight and without the stale one, and 1", ready, prepared)
	}
}

func TestKeysAreOrdered(t *testing.T) {
	keys := []Key{keyC, {Repo: "r", Template: "a", Profile: "x"}, keyB, keyA}
	slices.SortFunc(keys, Key.Compare)
	if want := []Key{keyA, {Repo: "r", Template: "a", Profile: "x"}, keyB, keyC}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	if got := keys[1].String(); got != "r/a/x" {
		t.Errorf("got %q", got)
	}
}

// give gives the pool an entry that no flight brought.
func give(p *Pool, e Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.put(e)
}

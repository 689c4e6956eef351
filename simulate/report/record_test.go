package report

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

// at is a record whose time is *now.
func at(now *time.Duration) *Record { return NewRecord(func() time.Duration { return *now }) }

func TestUtilisationIsAMeanOverTheTimeThatCounts(t *testing.T) {
	var now time.Duration
	r := at(&now)
	r.Observe(60, true)
	now += time.Minute
	r.Observe(0, true)
	now += 2 * time.Minute
	r.Observe(50, false)
	now += time.Hour // It does not count.
	r.Observe(50, false)
	if got := r.Report(Run{}, 0).SafeSpareUtilisation; math.Abs(got-20) > 1e-9 || r.samples.nominal != 180 {
		t.Errorf("the mean is %.2f %% of %v s, want 20 %% of 180 s", got, r.samples.nominal)
	}
}

func TestViolationsAreCountedAndTheFirstOfEachKindDescribed(t *testing.T) {
	now := time.Minute
	r := at(&now)
	for i := range 5 {
		r.Violate("the number %d", i)
	}
	r.Violate("another")
	if want := []string{"1m0s: the number 0", "1m0s: the number 1", "1m0s: the number 2", "1m0s: another"}; r.Violations != 6 || !slices.Equal(r.Broken, want) {
		t.Errorf("%d violations %q, want 6 and %q", r.Violations, r.Broken, want)
	}
}

func TestReportsOfNodesAreAddedUp(t *testing.T) {
	var now time.Duration
	a, b := at(&now), at(&now)
	a.Wait(time.Second)
	a.Wait(0) // It did not wait.
	a.Floor(3 * time.Second)
	a.Pool([]warmpool.Stats{{Counters: warmpool.Counters{Hits: 3, Misses: 1}}})
	a.Observe(10, true)
	b.Wait(2 * time.Second)
	b.Target(5 * time.Second)
	b.Pool([]warmpool.Stats{{Counters: warmpool.Counters{Misses: 2}}})
	b.Observe(30, true)
	b.Violate("broken")
	now = time.Minute
	a.Observe(0, false)
	b.Observe(0, false)
	one, two := a.Report(Run{Nodes: 1, Hours: 2, Seed: 7}, 1), b.Report(Run{Nodes: 1, Hours: 3, Seed: 8}, 2)
	s := Sum([]Report{one, two})
	want := Figures{
		ReadyQueueHit: 50, SafeSpareUtilisation: 20, PressureToSafeFloor: Millis(3 * time.Second),
		PressureClearToReadyTarget: Millis(5 * time.Second), QueueWaitP50: Millis(time.Second), QueueWaitP95: Millis(2 * time.Second),
	}
	if s.Figures != want {
		t.Errorf("got %+v, want %+v", s.Figures, want)
	}
	if s.Nodes != 2 || s.Hours != 5 || s.Seed != 7 || s.Episodes != 1 || s.Violations != 1 || !slices.Equal(s.Broken, two.Broken) {
		t.Errorf("got %+v", s)
	}
	if s.Digest == one.Digest || s.Digest == two.Digest {
		t.Errorf("the digest %s is not of both", s.Digest)
	}
	var out strings.Builder
	if err := s.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5s (n=1)", "1s, 2s (n=2)", "broken: 0s: broken"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

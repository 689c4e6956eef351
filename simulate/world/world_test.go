package world

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestARequestIsInTurnUnlessALaterOneOfItsTenantWasServed(t *testing.T) {
	var turns Turns
	first, second, third := turns.Arrive(0), turns.Arrive(0), turns.Arrive(0)
	other := turns.Arrive(1)
	for _, tc := range []struct {
		name   string
		tenant int
		turn   uint64
		want   bool
	}{
		{"the first", 0, first, true},
		{"a later one, as the second gave up", 0, third, true},
		{"another tenant's", 1, other, true},
		{"one that was overtaken", 0, second, false},
	} {
		if got := turns.Serve(tc.tenant, tc.turn); got != tc.want {
			t.Errorf("%s is in turn: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestImagesNameTheSnapshotsAndTheSickTemplate(t *testing.T) {
	images := New(1, Reserve{}).Images
	before := images.Snapshot(0)
	images.Revision[0]++
	if images.Snapshot(0) == before || images.Snapshot(0) == images.Snapshot(1) {
		t.Errorf("the snapshot %q is not of one revision of one template", images.Snapshot(0))
	}
	healthy := images.Failures(1)
	images.Sick = 1
	if images.Failures(1) <= healthy || images.Failures(0) != healthy {
		t.Errorf("the sick template fails in %v, another in %v, a healthy one in %v of its launches", images.Failures(1), images.Failures(0), healthy)
	}
}

func TestChancesHaveTheirMeansAndMedians(t *testing.T) {
	const draws = 20_000
	c := newChances(1)
	var happened, first int
	var gaps time.Duration
	spread := make([]time.Duration, draws)
	for i := range draws {
		if c.Happens(0.25) {
			happened++
		}
		if c.Pick(4) == 0 {
			first++
		}
		gaps += c.Gap(time.Minute)
		spread[i] = c.Spread(time.Second, 0.5)
	}
	slices.Sort(spread)
	for name, v := range map[string]struct{ got, want float64 }{
		"share":        {float64(happened) / draws, 0.25},
		"first of 4":   {float64(first) / draws, 0.5},
		"mean gap":     {gaps.Seconds() / draws, 60},
		"median":       {spread[draws/2].Seconds(), 1},
		"one sigma up": {spread[draws*8413/10000].Seconds(), math.Exp(0.5)},
	} {
		if math.Abs(v.got/v.want-1) > 0.05 {
			t.Errorf("%s is %.3f, want %.3f", name, v.got, v.want)
		}
	}
	if a, b := newChances(7).Uint64(), newChances(8).Uint64(); a == b || a != newChances(7).Uint64() {
		t.Error("the draws are not those of the seed")
	}
}

func TestACrashHarmsOnlyWhatTheStoreKnows(t *testing.T) {
	c := newChances(1)
	seen := map[Harm]int{}
	for range 10_000 {
		if h := HarmOf(&Machine{State: Running}, c); h != Unharmed {
			t.Fatalf("a machine without a row has harm %d", h)
		}
		if h := HarmOf(&Machine{State: Suspended, Row: true}, c); h != Unharmed && h != SnapshotGone {
			t.Fatalf("a paused sandbox has harm %d", h)
		}
		seen[HarmOf(&Machine{State: Running, Row: true}, c)]++
	}
	if seen[MachineGone] == 0 || seen[AgentSilent] == 0 || seen[NetworkGone] == 0 || seen[SnapshotGone] != 0 || seen[Unharmed] < 9_000 {
		t.Errorf("got %v", seen)
	}
}

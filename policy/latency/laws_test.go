package latency

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestDensityBreakpoint(t *testing.T) {
	at := func(pairs ...int) map[int]time.Duration {
		out := map[int]time.Duration{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = time.Duration(pairs[i+1]) * time.Millisecond
		}
		return out
	}
	for name, c := range map[string]struct {
		p95  map[int]time.Duration
		want int
		err  error
	}{
		"twice is still good":       {at(1, 50, 4, 80, 8, 100, 16, 101), 8, nil},
		"alone is always good":      {at(1, 50, 2, 101), 1, nil},
		"the most, with a dip":      {at(1, 50, 4, 120, 8, 99), 8, nil},
		"nothing to compare with":   {at(4, 80), 0, ErrNoBaseline},
		"a baseline of no time":     {at(1, 0, 4, 80), 0, ErrNoBaseline},
		"nothing":                   {nil, 0, ErrNoBaseline},
		"no sandboxes do not count": {at(0, 1, 1, 50), 1, nil},
	} {
		if got, err := DensityBreakpoint(c.p95); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestHitRate(t *testing.T) {
	for _, c := range []struct {
		hits, misses uint64
		want         float64
		ok           bool
	}{{9, 1, 90, true}, {0, 3, 0, true}, {5, 0, 100, true}, {0, 0, 0, false}, {math.MaxUint64, math.MaxUint64, 50, true}} {
		if got, ok := HitRate(c.hits, c.misses); got != c.want || ok != c.ok {
			t.Errorf("%d of %d: %v, %v", c.hits, c.hits+c.misses, got, ok)
		}
	}
}

func TestReliability(t *testing.T) {
	got, ok := Reliability(96, 3, 1)
	if !ok || got != (ReliabilityRates{Ready: 96, BootFailure: 3, Unknown: 1}) {
		t.Errorf("%+v, %v", got, ok)
	}
	if got, ok := Reliability(0, 0, 0); ok || got != (ReliabilityRates{}) {
		t.Errorf("of no start: %+v, %v", got, ok)
	}
}

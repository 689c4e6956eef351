package latency

import (
	"math"
	"testing"
)

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

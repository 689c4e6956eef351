package latency

import (
	"math"
	"testing"
	"time"
)

func ms(n ...int) (out []time.Duration) {
	for _, v := range n {
		out = append(out, time.Duration(v)*time.Millisecond)
	}
	return out
}

// upTo is 1 to n milliseconds, backwards.
func upTo(n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(n-i) * time.Millisecond
	}
	return out
}

func TestSummariseIsNearestRank(t *testing.T) {
	for _, tc := range []struct {
		name               string
		values             []time.Duration
		p50, p90, p95, p99 int
	}{
		{"one value is every percentile", ms(7), 7, 7, 7, 7},
		{"two values: the lower is the median", ms(9, 1), 1, 9, 9, 9},
		{"1 to 100 in any order", upTo(100), 50, 90, 95, 99},
		{"twenty values: rank 19 is p95", upTo(20), 10, 18, 19, 20},
		{"ten values: rank 9 is p90", upTo(10), 5, 9, 10, 10},
		{"700 values, where floating point rounds up", upTo(700), 350, 630, 665, 693},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := tc.values[0]
			got := Summarise(tc.values)
			want := ms(tc.p50, tc.p90, tc.p95, tc.p99)
			if got.P50 != want[0] || got.P90 != want[1] || got.P95 != want[2] || got.P99 != want[3] || got.Count != len(tc.values) {
				t.Errorf("got %+v, want %v", got, want)
			}
			if tc.values[0] != first {
				t.Error("the caller's slice was changed")
			}
		})
	}
	if got := Summarise(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestSummaryShowsCentreAndSpread(t *testing.T) {
	for _, tc := range []struct {
		name      string
		values    []time.Duration
		mean, mad time.Duration
		cv        float64
	}{
		{"one", ms(7), 7 * time.Millisecond, 0, 0},
		{"all the same", ms(4, 4, 4), 4 * time.Millisecond, 0, 0},
		// Distances from the median 3: 1, 0, 97, 1, 2. One outlier moves mean and CV, not MAD.
		{"an outlier", ms(2, 3, 100, 4, 1), 22 * time.Millisecond, time.Millisecond, 1.98262},
		{"zeros", []time.Duration{0, 0}, 0, 0, 0},
		// The squares sum to 32; 32/7 is 4.571, its root 2.138, over the mean 5.
		{"spread", ms(2, 4, 4, 4, 5, 5, 7, 9), 5 * time.Millisecond, time.Millisecond, 0.42762},
		{"a sum above an int64", []time.Duration{1 << 62, 1 << 62, 1 << 62}, 1 << 62, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Summarise(tc.values)
			if got.Mean.Round(time.Microsecond) != tc.mean.Round(time.Microsecond) || got.MAD != tc.mad || math.Abs(got.CV-tc.cv) > 0.0001 {
				t.Errorf("mean %v, MAD %v, CV %v", got.Mean, got.MAD, got.CV)
			}
		})
	}
}

func TestTierSaysWhichPercentilesTheSamplesBear(t *testing.T) {
	for _, tc := range []struct {
		n             int
		tier, dear    Tier
		p50, p95, p99 bool
	}{
		{0, "smoke_only", "smoke_only", false, false, false},
		{2, "smoke_only", "smoke_only", false, false, false},
		{3, "superfast_iteration", "superfast_iteration", false, false, false},
		{5, "fast_iteration", "fast_iteration", false, false, false},
		{9, "fast_iteration", "fast_iteration", false, false, false},
		{10, "baseline_checkpoint", "baseline_checkpoint", false, false, false},
		{29, "baseline_checkpoint", "baseline_checkpoint", false, false, false},
		{30, "p50_p90_decision_grade", "p95_decision_grade", true, false, false},
		{99, "p50_p90_decision_grade", "p95_decision_grade", true, false, false},
		{100, "p95_decision_grade", "p95_decision_grade", true, true, false},
		{499, "p95_decision_grade", "p95_decision_grade", true, true, false},
		{500, "p99", "p99", true, true, true},
	} {
		if got := TierOf(tc.n, FamilyLifecycle); got != tc.tier {
			t.Errorf("%d samples are %s, want %s", tc.n, got, tc.tier)
		}
		for _, f := range []Family{FamilyDensity, FamilyDisk} {
			if got := TierOf(tc.n, f); got != tc.dear {
				t.Errorf("%d samples of family %d are %s, want %s", tc.n, f, got, tc.dear)
			}
		}
		s := Summarise(upTo(tc.n))
		if s.Tier.Supports(50) != tc.p50 || s.Tier.Supports(90) != tc.p50 || s.Tier.Supports(95) != tc.p95 || s.Tier.Supports(99) != tc.p99 {
			t.Errorf("%d samples support 50: %v, 90: %v, 95: %v, 99: %v", tc.n, s.Tier.Supports(50), s.Tier.Supports(90), s.Tier.Supports(95), s.Tier.Supports(99))
		}
		if s.Tier.Supports(100) {
			t.Errorf("%d samples support a guaranteed maximum", tc.n)
		}
	}
}

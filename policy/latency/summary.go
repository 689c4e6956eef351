package latency

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Summary is a set of samples in figures. Percentiles are nearest-rank. All of
// them are always filled in; Tier.Supports reports which ones the number of samples supports.
type Summary struct {
	Name     string        `json:"name,omitempty"`
	Count    int           `json:"count"`              // samples in these figures
	Total    uint64        `json:"total,omitempty"`    // samples ever recorded
	Overflow uint64        `json:"overflow,omitempty"` // samples recorded and not kept
	Tier     Tier          `json:"tier,omitempty"`
	Min      time.Duration `json:"min"`
	P50      time.Duration `json:"p50"`
	P90      time.Duration `json:"p90"`
	P95      time.Duration `json:"p95"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	Mean     time.Duration `json:"mean"`
	// MAD is the median of the distances from the median.
	MAD time.Duration `json:"mad"`
	// CV is the coefficient of variation: the standard deviation of the sample
	// (over n-1) divided by the mean. It is 0 for one value, and for a mean of 0.
	CV float64 `json:"cv"`
}

// Summarise computes a Summary. It does not keep or change values.
func Summarise(values []time.Duration) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	mean := meanOf(sorted)
	return Summary{
		Count: len(sorted),
		Tier:  TierOf(len(sorted), FamilyLifecycle),
		Min:   sorted[0],
		P50:   percentile(sorted, 50),
		P90:   percentile(sorted, 90),
		P95:   percentile(sorted, 95),
		P99:   percentile(sorted, 99),
		Max:   sorted[len(sorted)-1],
		Mean:  time.Duration(math.Round(mean)),
		MAD:   mad(sorted),
		CV:    variation(sorted, mean),
	}
}

// percentile is nearest-rank: the value at rank ceil(n*p/100) of n sorted ones.
func percentile[T cmp.Ordered](sorted []T, p int) T {
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// meanOf sums in floating point: durations could overflow.
func meanOf(values []time.Duration) float64 {
	sum := 0.0
	for _, v := range values {
		sum += float64(v)
	}
	return sum / float64(len(values))
}

func mad(sorted []time.Duration) time.Duration {
	median := percentile(sorted, 50)
	distances := make([]time.Duration, len(sorted))
	for i, v := range sorted {
		distances[i] = (v - median).Abs()
	}
	slices.Sort(distances)
	return percentile(distances, 50)
}

func variation(values []time.Duration, mean float64) float64 {
	if len(values) < 2 || mean == 0 {
		return 0
	}
	squares := 0.0
	for _, v := range values {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	return math.Sqrt(squares/float64(len(values)-1)) / mean
}

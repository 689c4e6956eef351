package latency

import (
	"errors"
	"time"
)

// ErrNoBaseline: the density law needs a measurement of one sandbox alone.
var ErrNoBaseline = errors.New("no measurement of a single sandbox")

// DensityBreakpoint is the most sandboxes at a time whose 95th percentile is at
// most twice that of one alone. p95 has the percentile by number of sandboxes.
func DensityBreakpoint(p95 map[int]time.Duration) (int, error) {
	alone, ok := p95[1]
	if !ok || alone <= 0 {
		return 0, ErrNoBaseline
	}
	most := 1
	for n, d := range p95 {
		if n > most && d <= 2*alone {
			most = n
		}
	}
	return most, nil
}

// HitRate is how many of a pool's or cache's requests it served, in percent;
// false if there were none.
func HitRate(hits, misses uint64) (percent float64, ok bool) {
	all := float64(hits) + float64(misses)
	if all == 0 {
		return 0, false
	}
	return float64(hits) / all * 100, true
}

// ReliabilityRates are shares of all starts, in percent.
type ReliabilityRates struct {
	Ready       float64 `json:"ready"`
	BootFailure float64 `json:"boot_failure"`
	Unknown     float64 `json:"unknown"`
}

// Reliability shares starts out over how they ended; false if there were none.
func Reliability(ready, bootFailures, unknown uint64) (ReliabilityRates, bool) {
	all := float64(ready) + float64(bootFailures) + float64(unknown)
	if all == 0 {
		return ReliabilityRates{}, false
	}
	share := func(n uint64) float64 { return float64(n) / all * 100 }
	return ReliabilityRates{Ready: share(ready), BootFailure: share(bootFailures), Unknown: share(unknown)}, true
}

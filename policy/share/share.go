// Package share says which API keys yield the processors to others for a while: as long
// as there are keys that work and use less than their fair share, those of them with the
// fewest machines go first, and all others yield. It has no clock and no I/O, and imports
// nothing of Rundlet.
package share

import (
	"math"
	"time"
)

const (
	// memory is the part of the earlier use that counts after a second.
	memory = 0.5
	// working is the least use of a key that others yield to, in processors. A sandbox
	// that waits for a request uses less than a thousandth.
	working = 0.01
	// A key is modest from modestFrom of its fair share, until it uses modestTo: at
	// the edge it does not change every second.
	modestFrom, modestTo = 0.75, 0.95
)

// Used is what a key used in some time.
type Used struct {
	Time time.Duration // of processors
	// Parts is into how many parts its weight is divided: about its number of machines.
	Parts int
}

// Use is what the keys use, and which of them are modest. The zero value is ready. It is
// not safe for concurrent use.
type Use struct {
	rates  map[string]float64 // processors, a moving average
	modest map[string]bool    // working, and below the fair share
}

// Observe adds what each key used since the last call, elapsed ago, and returns the keys
// that yield now. A key that is not in used has used nothing: it is remembered for some
// seconds, as a client that ends a sandbox and makes the next. The fair share of a key
// that works is an equal part of the processors.
//
// Keys that yield keep their fair share: those that go first use less than theirs, or
// they go first no longer.
func (u *Use) Observe(elapsed time.Duration, processors int, used map[string]Used) (yield map[string]bool) {
	if elapsed <= 0 {
		return nil
	}
	kept := math.Pow(memory, elapsed.Seconds())
	rates, work := map[string]float64{}, 0
	for key, now := range used {
		rates[key] = max(0, now.Time.Seconds()/elapsed.Seconds())
	}
	for key, was := range u.rates {
		if rate, here := rates[key]; here || was >= working {
			rates[key] = kept*was + (1-kept)*rate
		}
	}
	for _, rate := range rates {
		if rate >= working {
			work++
		}
	}
	modest, fewest := map[string]bool{}, 0
	for key, rate := range rates {
		edge := modestFrom
		if u.modest[key] {
			edge = modestTo
		}
		if rate < working || rate >= edge*float64(processors)/float64(work) {
			continue
		}
		if parts := used[key].Parts; len(modest) == 0 || parts < fewest { // 0: it is between two machines.
			fewest = parts
		}
		modest[key] = true
	}
	u.rates, u.modest = rates, modest
	yield = map[string]bool{}
	for key, rate := range rates {
		// One with many machines yields before it works: it may begin at any moment.
		first := used[key].Parts <= max(fewest, 1) && (modest[key] || rate < working)
		if len(modest) > 0 && !first {
			yield[key] = true
		}
	}
	return yield
}

// Alone reports whether no second key has a machine or worked lately.
func (u *Use) Alone() bool { return len(u.rates) < 2 }

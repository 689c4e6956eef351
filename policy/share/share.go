// Package share says which API keys yield the processors to others for a while: as long
// as a key works that uses less than its fair share, those that use more yield, or, if
// none uses more, those with more machines. It has no clock and no I/O, and imports
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
	modest map[string]bool    // below the fair share
}

// Observe adds what each key used since the last call, elapsed ago, and returns the keys
// that yield now. A key that is not in used has used nothing: it is remembered for some
// seconds, as a client that ends a sandbox and makes the next. The fair share of a key
// that works is an equal part of the processors.
//
// Keys that yield divide what is left between their machines, whatever the weights say.
// One that gets less than its fair share so yields no longer.
func (u *Use) Observe(elapsed time.Duration, processors int, used map[string]Used) (yield map[string]bool) {
	if elapsed <= 0 {
		return nil
	}
	u.average(elapsed, used)
	work := 0
	for _, rate := range u.rates {
		if rate >= working {
			work++
		}
	}
	modest, first, more := map[string]bool{}, math.MaxInt, false
	for key, rate := range u.rates {
		edge := modestFrom
		if u.modest[key] {
			edge = modestTo
		}
		if rate >= edge*float64(processors)/float64(max(work, 1)) {
			more = true
			continue
		}
		modest[key] = true
		if rate >= working { // One between two machines has no parts.
			first = min(first, max(used[key].Parts, 1))
		}
	}
	u.modest = modest
	yield = map[string]bool{}
	for key := range u.rates {
		// With many machines one yields before it works: it may begin at any moment.
		if first < math.MaxInt && (!modest[key] || !more && used[key].Parts > first) {
			yield[key] = true
		}
	}
	return yield
}

// average brings the rates up to date.
func (u *Use) average(elapsed time.Duration, used map[string]Used) {
	kept := math.Pow(memory, elapsed.Seconds())
	rates := map[string]float64{}
	for key, now := range used {
		rates[key] = max(0, now.Time.Seconds()/elapsed.Seconds())
	}
	for key, was := range u.rates {
		if rate, here := rates[key]; here || was >= working {
			rates[key] = kept*was + (1-kept)*rate
		}
	}
	u.rates = rates
}

// Alone reports whether no second key has a machine or worked lately.
func (u *Use) Alone() bool { return len(u.rates) < 2 }

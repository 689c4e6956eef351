// Package latency names the stages of a sandbox's life that are measured, keeps
// their samples, summarises them and judges them against objectives. It is
// pure: durations come in, no clock is read. It may import the standard library
// only; everything above policy may import it.
package latency

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Keep is how many samples of one name a Recorder holds: the newest.
const Keep = 4096

// Recorder collects samples. The zero value is ready; it is safe for
// concurrent use.
type Recorder struct {
	// Sink, if it is set before the first Record, receives every sample as it
	// is recorded, by its canonical name and without a lock held.
	Sink func(name string, d time.Duration)

	mu      sync.Mutex
	samples map[string]*ring
}

// ring keeps the newest samples of one name.
type ring struct {
	values []time.Duration
	next   int
	total  uint64
}

func (r *ring) add(d time.Duration) {
	if len(r.values) < Keep {
		r.values = append(r.values, d)
	} else {
		r.values[r.next] = d
		r.next = (r.next + 1) % Keep
	}
	r.total++
}

// Record adds a sample. Negative durations, which a clock step can cause, are
// dropped.
func (r *Recorder) Record(name string, d time.Duration) {
	if d < 0 {
		return
	}
	name = Canonical(name)
	r.mu.Lock()
	if r.samples == nil {
		r.samples = map[string]*ring{}
	}
	s := r.samples[name]
	if s == nil {
		s = &ring{}
		r.samples[name] = s
	}
	s.add(d)
	r.mu.Unlock()
	if r.Sink != nil {
		r.Sink(name, d)
	}
}

// Summaries returns a summary for each name that has samples, sorted by name.
func (r *Recorder) Summaries() []Summary {
	r.mu.Lock()
	values, totals := map[string][]time.Duration{}, map[string]uint64{}
	for name, s := range r.samples {
		values[name], totals[name] = slices.Clone(s.values), s.total
	}
	r.mu.Unlock()
	// Sorting thousands of values must not block recording.
	out := make([]Summary, 0, len(values))
	for name, v := range values {
		sum := Summarise(v)
		sum.Name, sum.Total = name, totals[name]
		sum.Overflow = sum.Total - uint64(sum.Count)
		out = append(out, sum)
	}
	slices.SortFunc(out, func(a, b Summary) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

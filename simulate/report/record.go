package report

import (
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/timeline"
)

// Record is what one run is measured and judged by, so far. Make it with NewRecord.
// It is not safe for concurrent use.
type Record struct {
	// Counts are added to where it happens; of Violations, Broken has the first.
	Counts
	// Broken describes the first broken invariants of each kind.
	Broken []string

	now     func() time.Duration
	samples samples
	seen    map[string]int // broken invariants by kind
	// last is when the utilisation was observed, counts whether it counts.
	last        time.Duration
	utilisation float64
	counts      bool
}

// samples are the measurements of a run, in their order.
type samples struct {
	waits, floors, targets []time.Duration
	// useful is the integral of the utilisation over the nominal seconds.
	useful, nominal float64
}

func (s *samples) add(o samples) {
	s.waits, s.floors, s.targets = append(s.waits, o.waits...), append(s.floors, o.floors...), append(s.targets, o.targets...)
	s.useful += o.useful
	s.nominal += o.nominal
}

// NewRecord returns an empty record. now returns the virtual time.
func NewRecord(now func() time.Duration) *Record { return &Record{now: now, seen: map[string]int{}} }

// described is how many violations of each kind are described; all are counted.
const described = 3

// Violate records a broken invariant. All calls with the same format are of the same
// kind.
func (r *Record) Violate(format string, args ...any) {
	r.Violations++
	if r.seen[format]++; r.seen[format] <= described {
		r.Broken = append(r.Broken, fmt.Sprintf("%v: %s", r.now(), fmt.Sprintf(format, args...)))
	}
}

// Wait records how long a request was in the queue. A request that did not wait is
// not a sample.
func (r *Record) Wait(d time.Duration) {
	if d > 0 {
		r.samples.waits = append(r.samples.waits, d)
	}
}

// Floor records an episode of pressure, and how long it took until the reserve was
// whole or nothing idle was left to give.
func (r *Record) Floor(d time.Duration) {
	r.Episodes++
	r.samples.floors = append(r.samples.floors, d)
}

// Target records how long it took after an episode until the pool was full again.
func (r *Record) Target(d time.Duration) { r.samples.targets = append(r.samples.targets, d) }

// Pool adds the figures of a pool that ends.
func (r *Record) Pool(stats []warmpool.Stats) {
	for _, s := range stats {
		r.Hits += s.Hits
		r.Misses += s.Misses
	}
}

// Observe records the utilisation from now on. It is used if it counts: the mean is
// over that time only.
func (r *Record) Observe(utilisation float64, counts bool) {
	if r.counts {
		d := (r.now() - r.last).Seconds()
		r.samples.useful += r.utilisation * d
		r.samples.nominal += d
	}
	r.last, r.utilisation, r.counts = r.now(), utilisation, counts
}

// Report returns what came of the run.
func (r *Record) Report(run Run, digest timeline.Digest) Report {
	out := Report{Run: run, Counts: r.Counts, Broken: r.Broken, samples: r.samples, digest: digest}
	out.summarise()
	return out
}

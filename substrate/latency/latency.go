// Package latency names the stages of a sandbox's life that are measured, keeps
// their samples and summarises them. It is pure: durations come in, no clock is
// read. It may import the standard library only.
package latency

import (
	"math"
	"slices"
	"sync"
	"time"
)

// The sample names. They are part of the contract with operators and with the
// benchmark: never rename one. A sample is recorded only for what succeeded.
const (
	WarmSnapshotRestore = "warm_snapshot_restore"
	ReadyProbe          = "ready_probe"
	CommandStart        = "command_start"
	FirstStdoutByte     = "first_stdout_byte"
	KillDelete          = "kill_delete"
	SnapshotSave        = "snapshot_save"
	ColdTemplateBuild   = "cold_template_build"
	WarmPoolCheckout    = "warm_pool_checkout"
	// ResumeToFirstStdout is for the first non-interactive command after a
	// prepared-template restore: start of the restore to first byte of output.
	ResumeToFirstStdout = "sandbox.start.resume_snapshot_to_first_stdout_ms"
)

// Keep is how many samples of one name a Recorder holds: the newest.
const Keep = 4096

// Recorder collects samples. The zero value is ready; it is safe for
// concurrent use.
type Recorder struct {
	mu      sync.Mutex
	samples map[string]*ring
}

type ring struct {
	values []time.Duration
	next   int
	total  uint64
}

// Record adds a sample. Negative durations, which a clock step can cause, are
// dropped.
func (r *Recorder) Record(name string, d time.Duration) {
	if d < 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.samples == nil {
		r.samples = map[string]*ring{}
	}
	s := r.samples[name]
	if s == nil {
		s = &ring{}
		r.samples[name] = s
	}
	if len(s.values) < Keep {
		s.values = append(s.values, d)
	} else {
		s.values[s.next] = d
		s.next = (s.next + 1) % Keep
	}
	s.total++
}

// Summaries returns a summary for each name that has samples, sorted by name.
func (r *Recorder) Summaries() []Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Summary, 0, len(r.samples))
	for name, s := range r.samples {
		sum := Summarise(s.values)
		sum.Name, sum.Total = name, s.total
		out = append(out, sum)
	}
	slices.SortFunc(out, func(a, b Summary) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// Summary is a set of samples in figures. Percentiles are nearest-rank.
type Summary struct {
	Name  string        `json:"name,omitempty"`
	Count int           `json:"count"`           // samples in these figures
	Total uint64        `json:"total,omitempty"` // samples ever recorded
	Min   time.Duration `json:"min"`
	P50   time.Duration `json:"p50"`
	P95   time.Duration `json:"p95"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
}

// Summarise computes a Summary. It does not keep or change values.
func Summarise(values []time.Duration) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Summary{
		Count: len(sorted),
		Min:   sorted[0],
		P50:   percentile(sorted, 50),
		P95:   percentile(sorted, 95),
		P99:   percentile(sorted, 99),
		Max:   sorted[len(sorted)-1],
	}
}

// percentile is nearest-rank: the value at rank ceil(n*p/100) of n sorted ones.
func percentile(sorted []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(float64(len(sorted)) * p / 100))
	return sorted[max(rank, 1)-1]
}

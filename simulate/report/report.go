// Package report records a simulated run and reports on it: what was counted, the
// figures of the autoscale contract, and the invariants that were broken. Reports
// of several nodes are added up.
//
// It may import the standard library, policy packages and simulate/timeline;
// simulate fills it in.
package report

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/simulate/timeline"
)

// Run is what a report is about, and how far the simulation went.
type Run struct {
	Scenario string  `json:"scenario"`
	Nodes    int     `json:"nodes"`
	Hours    float64 `json:"simulated_hours"`
	Seed     uint64  `json:"seed"` // of the first node
	About    About   `json:"about"`
}

// Report is what came of a run, or of several that were added up.
type Report struct {
	Run
	// Digest is of all that happened: equal for equal runs.
	Digest string `json:"digest"`
	Counts
	Figures
	// Broken describes the first broken invariants of each node.
	Broken []string `json:"broken,omitempty"`

	samples samples
	digest  timeline.Digest
}

// Figures are the ones of the autoscale contract, and the waits in the queue.
type Figures struct {
	// ReadyQueueHit is hits/(hits+misses)*100 of the requests for a template that
	// the pool has.
	ReadyQueueHit float64 `json:"ready_queue_hit_percent"`
	// SafeSpareUtilisation is how much the ready entries use of what active work
	// and the reserves leave of the scarcest resource: the mean of the time in
	// nominal.
	SafeSpareUtilisation float64 `json:"safe_spare_limiting_utilisation_percent"`
	// PressureToSafeFloor is how long it took until the reserve was whole, or
	// nothing idle was left to give; PressureClearToReadyTarget how long until the
	// pool was full again after the pressure was gone. Both are the 95th
	// percentile.
	PressureToSafeFloor        Millis `json:"pressure_to_safe_floor_ms"`
	PressureClearToReadyTarget Millis `json:"pressure_clear_to_ready_target_ms"`
	// Of requests that had to wait.
	QueueWaitP50 Millis `json:"queue_wait_p50_ms"`
	QueueWaitP95 Millis `json:"queue_wait_p95_ms"`
}

// Millis is a duration that JSON shows in milliseconds.
type Millis time.Duration

func (m Millis) String() string { return time.Duration(m).Round(time.Millisecond).String() }

// MarshalJSON writes a number.
func (m Millis) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(m)/float64(time.Millisecond)), nil
}

// Sum adds reports up, in their order. There must be at least one.
func Sum(reports []Report) Report {
	total := reports[0]
	for _, r := range reports[1:] {
		total.Nodes += r.Nodes
		total.Hours += r.Hours
		total.digest = total.digest.Fold(uint64(r.digest))
		total.Counts.add(r.Counts)
		total.Broken = append(total.Broken, r.Broken...)
		total.samples.add(r.samples)
	}
	total.summarise()
	return total
}

func (r *Report) summarise() {
	s := r.samples
	r.Digest = r.digest.String()
	r.Figures = Figures{
		ReadyQueueHit:              hitRate(r.Hits, r.Misses),
		PressureToSafeFloor:        Millis(latency.Summarise(s.floors).P95),
		PressureClearToReadyTarget: Millis(latency.Summarise(s.targets).P95),
		QueueWaitP50:               Millis(latency.Summarise(s.waits).P50),
		QueueWaitP95:               Millis(latency.Summarise(s.waits).P95),
	}
	if s.nominal > 0 {
		r.SafeSpareUtilisation = s.useful / s.nominal
	}
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.About.rows() {
		fmt.Fprintf(tw, "%s\t%s\n", row[0], row[1])
	}
	for _, row := range []struct {
		name  string
		value any
	}{
		{"scenario", r.Scenario}, {"nodes", r.Nodes}, {"simulated hours", r.Hours}, {"first seed", r.Seed}, {"digest", r.Digest}, {"events", r.Events},
		{"requests", r.Requests},
		{"  served at once", r.AtOnce}, {"  queued", r.Queued}, {"  expired", r.Expired}, {"  refused", r.Refused},
		{"ready_queue_hit", fmt.Sprintf("%.2f %%", r.ReadyQueueHit)},
		{"safe_spare limiting utilisation", fmt.Sprintf("%.1f %%", r.SafeSpareUtilisation)},
		{"pressure_to_safe_floor p95", fmt.Sprintf("%v (n=%d)", r.PressureToSafeFloor, len(r.samples.floors))},
		{"pressure_clear_to_ready_target p95", fmt.Sprintf("%v (n=%d)", r.PressureClearToReadyTarget, len(r.samples.targets))},
		{"queue wait p50, p95, with resumes", fmt.Sprintf("%v, %v (n=%d)", r.QueueWaitP50, r.QueueWaitP95, len(r.samples.waits))},
		{"warm entries yielded, retired", fmt.Sprintf("%d, %d", r.Yielded, r.Retired)},
		{"failures of creates, warm launches, kills", fmt.Sprintf("%d, %d, %d", r.CreateFailures, r.LaunchFailures, r.KillRetries)},
		{"after crashes recovered, cleaned up, quarantined, lost", fmt.Sprintf("%d, %d, %d, %d", r.Recovered, r.CleanedUp, r.Quarantined, r.Lost)},
		{"crashes, pressure episodes", fmt.Sprintf("%d, %d", r.Crashes, r.Episodes)},
		{"reserve-floor violations", r.FloorViolations}, {"active evictions", r.ActiveEvictions}, {"leftover", r.Leftover},
		{"invariant violations", r.Violations},
	} {
		fmt.Fprintf(tw, "%s\t%v\n", row.name, row.value)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, b := range r.Broken {
		if _, err := fmt.Fprintln(w, "broken:", b); err != nil {
			return err
		}
	}
	return nil
}

// hitRate is 100 without requests: nothing was missed.
func hitRate(hits, misses uint64) float64 {
	if percent, ok := latency.HitRate(hits, misses); ok {
		return percent
	}
	return 100
}

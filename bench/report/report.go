// Package report shows and judges what a benchmark measured: text, one HTML
// page, and the gate of the objectives. It is pure: figures come in, no clock
// is read and nothing is measured. It may import policy/latency; bench and
// cmd may import it.
package report

import (
	"math"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

// Host is the stamp of the machine that the figures are from.
type Host struct {
	Time       time.Time `json:"time"`
	Version    string    `json:"version"`
	Driver     string    `json:"driver"`
	Mechanism  string    `json:"mechanism"`
	Kernel     string    `json:"kernel"`
	CPU        string    `json:"cpu"`
	CPUs       int       `json:"cpus"`
	MemoryMiB  int64     `json:"memory_mib"`
	LoadBefore string    `json:"load_before"`
	LoadAfter  string    `json:"load_after"`
	// Took is how long the whole run was.
	Took time.Duration `json:"took"`
}

// Report is a run.
type Report struct {
	Host   Host    `json:"host"`
	Groups []Group `json:"groups"`
	// Verdicts are the objectives, each met, missed, or why it is undecided.
	Verdicts []Verdict `json:"verdicts"`
}

// Plot is how the rows of a group are drawn.
type Plot string

// The plots.
const (
	PlotCDF   Plot = "cdf"   // the distribution of each row
	PlotLines Plot = "lines" // the medians over X, a line for each name
	PlotBars  Plot = "bars"  // p50, p95 and the largest of each row
)

// Group is what was measured together, in the same rounds.
type Group struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Error says why the group, or the rest of it, could not be measured.
	Error      string        `json:"error,omitempty"`
	Took       time.Duration `json:"took"`
	LoadBefore string        `json:"load_before"`
	LoadAfter  string        `json:"load_after"`
	Plot       Plot          `json:"plot"`
	Rows       []Row         `json:"rows"`
	// Facts are results without a duration: counts, orders, omissions and their reasons.
	Facts []string `json:"facts,omitempty"`
	// Stages are the samples that the server itself took meanwhile.
	Stages []latency.Summary `json:"stages,omitempty"`
}

// Row is one figure beside that of its bare mechanism.
type Row struct {
	Name string       `json:"name"`
	Unit latency.Unit `json:"unit"`
	Ours Series       `json:"ours"`
	// Processor is the processor time of what Ours is the wall time of, in milliseconds: of
	// the process of server and client, and of all processes of sandboxes. It has no samples
	// where other work runs at the same time.
	Processor Series `json:"processor"`
	// BareName says what the mechanism did; empty if there is nothing like it.
	BareName string `json:"bare_name,omitempty"`
	Bare     Series `json:"bare"`
	// Limit is the maximum of the ratio; 0 means no limit.
	Limit float64 `json:"limit,omitempty"`
	// X is the number that rows of one name differ by, in XUnit; XUnit is empty
	// if there is none.
	X     float64 `json:"x,omitempty"`
	XUnit string  `json:"x_unit,omitempty"`
}

// Label is the name with what it differs by.
func (r Row) Label() string {
	if r.XUnit == "" {
		return r.Name
	}
	return r.Name + ", " + strconv.FormatFloat(r.X, 'f', -1, 64) + " " + r.XUnit
}

// Ratio is ours to bare, of the medians; 0 if there is none.
func (r Row) Ratio() float64 {
	if r.Ours.Count == 0 || r.Bare.P50 <= 0 {
		return 0
	}
	return r.Ours.P50 / r.Bare.P50
}

// Met reports whether a row is within its limit. One without samples is not.
func (r Row) Met() bool {
	ratio := r.Ratio()
	return r.Limit == 0 || ratio > 0 && ratio <= r.Limit
}

// Series is samples and what they come to.
type Series struct {
	Count int          `json:"count"`
	Tier  latency.Tier `json:"tier,omitempty"`
	Min   float64      `json:"min"`
	P50   float64      `json:"p50"`
	P90   float64      `json:"p90"`
	P95   float64      `json:"p95"`
	P99   float64      `json:"p99"`
	Max   float64      `json:"max"`
	Mean  float64      `json:"mean"`
	// Samples are in the order in which they were taken.
	Samples []float64 `json:"samples,omitempty"`
}

// scale is what latency.Summarise, which is for durations, counts a unit in.
const scale = 1e6

// SeriesOf summarises samples by the rules of latency.Summarise.
func SeriesOf(samples []float64) Series {
	scaled := make([]time.Duration, len(samples))
	for i, v := range samples {
		scaled[i] = time.Duration(math.Round(v * scale))
	}
	s := latency.Summarise(scaled)
	back := func(d time.Duration) float64 { return float64(d) / scale }
	return Series{
		Count: s.Count, Tier: s.Tier, Samples: samples, Min: back(s.Min), P50: back(s.P50), P90: back(s.P90),
		P95: back(s.P95), P99: back(s.P99), Max: back(s.Max), Mean: back(s.Mean),
	}
}

// ofStage is a server's own summary as a series, without the samples.
func ofStage(s latency.Summary) Series {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return Series{Count: s.Count, Tier: s.Tier, Min: ms(s.Min), P50: ms(s.P50), P90: ms(s.P90), P95: ms(s.P95),
		P99: ms(s.P99), Max: ms(s.Max), Mean: ms(s.Mean)}
}

// Decisive is the highest percentile that a decision may rest on, of 50, 90, 95
// and 99; 0 is none.
func (s Series) Decisive() int {
	for _, p := range []int{99, 95, 90} {
		if s.Tier.Supports(p) {
			return p
		}
	}
	return 0
}

// percentile is one of those that a series has.
func (s Series) percentile(p int) float64 {
	switch p {
	case 50:
		return s.P50
	case 90:
		return s.P90
	case 95:
		return s.P95
	}
	return s.P99
}

// Find returns a row by its group and name; of several, the first.
func (r Report) Find(group, row string) (Row, bool) {
	for _, g := range r.Groups {
		if g.Name != group {
			continue
		}
		for _, have := range g.Rows {
			if have.Name == row {
				return have, true
			}
		}
		for _, s := range g.Stages {
			if s.Name == row {
				return Row{Name: s.Name, Unit: latency.Milliseconds, Ours: ofStage(s)}, true
			}
		}
	}
	return Row{}, false
}

// ran reports whether a group was chosen.
func (r Report) ran(group string) bool {
	for _, g := range r.Groups {
		if g.Name == group {
			return true
		}
	}
	return false
}

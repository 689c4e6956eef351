package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/policy/latency"
)

// Result is how an objective fared.
type Result string

// The results.
const (
	Met           Result = "met"
	Missed        Result = "missed"
	Insufficient  Result = "insufficient samples"
	NotMeasured   Result = "not measured"
	NotChosen     Result = "not chosen"     // its group was left out of this run
	NotApplicable Result = "not applicable" // there is nothing here that it is about
)

// Fails reports whether a gate must not pass.
func (r Result) Fails() bool { return r == Missed || r == Insufficient || r == NotMeasured }

// Verdict is one objective and how it fared.
type Verdict struct {
	Objective string `json:"objective"`
	Limit     string `json:"limit"`
	Result    Result `json:"result"`
	Detail    string `json:"detail"`
}

// Place is where a metric is in a report.
type Place struct{ Group, Row string }

// Limit is an objective of this product: the most that a percentile, or the
// ratio to the bare mechanism, may be.
type Limit struct {
	Place Place
	Name  string
	// Percentile of our figure; 0 means that Max is for the ratio of the medians or, if Added, for
	// their difference.
	Percentile int
	Added      bool
	Max        float64
	// Below: the limit itself is too much.
	Below bool
}

// Objectives are what a report is judged by.
type Objectives struct {
	// SLOs are looked for at Places; those without a place are not applicable,
	// for the reason in Absent.
	SLOs   []latency.SLO
	Places map[string]Place
	Absent map[string]string
	Limits []Limit
}

// Judge returns a verdict for each objective, in their order.
func (o Objectives) Judge(r Report) []Verdict {
	var out []Verdict
	for _, l := range o.Limits {
		out = append(out, l.judge(r))
	}
	for _, slo := range o.SLOs {
		v := Verdict{Objective: slo.Metric, Limit: sloLimit(slo)}
		place, ok := o.Places[slo.Metric]
		switch row, found := r.Find(place.Group, place.Row); {
		case !ok:
			v.Result, v.Detail = NotApplicable, o.Absent[slo.Metric]
		case !r.ran(place.Group):
			v.Result, v.Detail = NotChosen, "group "+place.Group
		case !found:
			v.Result, v.Detail = NotMeasured, "group "+place.Group
		default:
			v.Result, v.Detail = judge(slo, row)
		}
		out = append(out, v)
	}
	return out
}

// judge leaves the decision to the gate of package latency.
func judge(slo latency.SLO, row Row) (Result, string) {
	s := row.Ours
	findings := latency.Gate([]latency.SLO{slo}, []latency.Figure{{Metric: slo.Metric, Unit: row.Unit, Count: s.Count, P50: s.P50, P95: s.P95}})
	detail := fmt.Sprintf("%s: p50 %s, p95 %s, n %d", row.Name, number(s.P50), number(s.P95), s.Count)
	result := Met
	for _, f := range findings {
		switch f.Kind {
		case latency.P50Exceeded, latency.P95Exceeded:
			result = Missed // whatever else is wrong
		case latency.InsufficientSamples:
			if result == Met {
				result = Insufficient
			}
		default:
			return NotMeasured, f.Detail
		}
		detail += "; " + f.Detail
	}
	return result, detail
}

func sloLimit(o latency.SLO) string {
	switch {
	case o.P50Max == 0:
		return fmt.Sprintf("p95 <= %s %s", number(o.P95Max), o.Unit)
	case o.P95Max == 0:
		return fmt.Sprintf("p50 <= %s %s", number(o.P50Max), o.Unit)
	}
	return fmt.Sprintf("p50 <= %s, p95 <= %s %s", number(o.P50Max), number(o.P95Max), o.Unit)
}

func (l Limit) judge(r Report) Verdict {
	v := Verdict{Objective: l.Name, Limit: l.String()}
	row, found := r.Find(l.Place.Group, l.Place.Row)
	switch {
	case !r.ran(l.Place.Group):
		v.Result, v.Detail = NotChosen, "group "+l.Place.Group
		return v
	case !found || row.Ours.Count == 0 || l.Percentile == 0 && row.Ratio() == 0:
		v.Result, v.Detail = NotMeasured, "group "+l.Place.Group
		return v
	}
	// The median of a ratio needs as many samples as any median, of both.
	got, percentile, n := row.Ratio(), 50, min(row.Ours.Count, row.Bare.Count)
	v.Detail = fmt.Sprintf("%s: %.2f, n %d", row.Name, got, n)
	if l.Added {
		got = row.Ours.P50 - row.Bare.P50
		v.Detail = fmt.Sprintf("%s: %s + %s, n %d", row.Name, number(row.Bare.P50), number(got), n)
	}
	if l.Percentile > 0 {
		got, percentile, n = row.Ours.percentile(l.Percentile), l.Percentile, row.Ours.Count
		v.Detail = fmt.Sprintf("%s: %s, n %d", row.Name, number(got), n)
	}
	switch {
	case got > l.Max || l.Below && got == l.Max:
		v.Result = Missed
	case !latency.TierOf(n, latency.FamilyLifecycle).Supports(percentile):
		v.Result = Insufficient
	default:
		v.Result = Met
	}
	return v
}

func (l Limit) String() string {
	sign := "<="
	if l.Below {
		sign = "<"
	}
	switch {
	case l.Added:
		return fmt.Sprintf("added p50 %s %g ms", sign, l.Max)
	case l.Percentile == 0:
		return fmt.Sprintf("ratio %s %.3g", sign, l.Max)
	}
	return fmt.Sprintf("p%d %s %g ms", l.Percentile, sign, l.Max)
}

// Failures are the verdicts that keep a gate shut.
func (r Report) Failures() []Verdict {
	return slices.DeleteFunc(slices.Clone(r.Verdicts), func(v Verdict) bool { return !v.Result.Fails() })
}

// Check returns an error if a group failed or, with gate, if an objective did.
func (r Report) Check(gate bool) error {
	var broken []string
	for _, g := range r.Groups {
		if g.Error != "" {
			broken = append(broken, g.Name)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("groups failed: %s", strings.Join(broken, ", "))
	}
	if failed := r.Failures(); gate && len(failed) > 0 {
		return fmt.Errorf("benchmark gate failed: %d of %d objectives missed or undecided", len(failed), len(r.Verdicts))
	}
	return nil
}

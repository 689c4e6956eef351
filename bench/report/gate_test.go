package report

import (
	"strings"
	"testing"

	"github.com/rundlet/rundlet/policy/latency"
)

// reportOf has one group "g" with one row "r".
func reportOf(ours, bare []float64) Report {
	return Report{Groups: []Group{{Name: "g", Rows: []Row{{Name: "r", Unit: latency.Milliseconds, Ours: SeriesOf(ours), Bare: SeriesOf(bare)}}}}}
}

func TestLimitsAreJudgedByEnoughSamplesOnly(t *testing.T) {
	here := Place{"g", "r"}
	for name, tc := range map[string]struct {
		limit      Limit
		ours, bare []float64
		want       Result
	}{
		"median below":             {Limit{Place: here, Percentile: 50, Max: 2}, repeat(1, 30), nil, Met},
		"equal passes":             {Limit{Place: here, Percentile: 50, Max: 2}, repeat(2, 30), nil, Met},
		"equal is not below":       {Limit{Place: here, Percentile: 50, Max: 2, Below: true}, repeat(2, 30), nil, Missed},
		"too few for a median":     {Limit{Place: here, Percentile: 50, Max: 2}, repeat(1, 29), nil, Insufficient},
		"too few for p99":          {Limit{Place: here, Percentile: 99, Max: 2}, repeat(1, 499), nil, Insufficient},
		"enough for p99":           {Limit{Place: here, Percentile: 99, Max: 2}, repeat(1, 500), nil, Met},
		"a miss with few is one":   {Limit{Place: here, Percentile: 99, Max: 2}, repeat(3, 5), nil, Missed},
		"ratio within":             {Limit{Place: here, Max: 1.25}, repeat(5, 30), repeat(4, 30), Met},
		"ratio above":              {Limit{Place: here, Max: 1.25}, repeat(6, 30), repeat(4, 30), Missed},
		"too few bare for a ratio": {Limit{Place: here, Max: 1.25}, repeat(5, 30), repeat(4, 10), Insufficient},
		"little added":             {Limit{Place: here, Added: true, Max: 2}, repeat(6, 30), repeat(4, 30), Met},
		"too much added":           {Limit{Place: here, Added: true, Max: 2}, repeat(6.1, 30), repeat(4, 30), Missed},
		"too few bare to add to":   {Limit{Place: here, Added: true, Max: 2}, repeat(5, 30), repeat(4, 29), Insufficient},
		"nothing bare to add to":   {Limit{Place: here, Added: true, Max: 2}, repeat(1, 30), nil, NotMeasured},
		"nothing bare":             {Limit{Place: here, Max: 1.25}, repeat(5, 30), nil, NotMeasured},
		"nothing ours":             {Limit{Place: here, Percentile: 50, Max: 1}, nil, nil, NotMeasured},
		"no such row":              {Limit{Place: Place{"g", "x"}, Percentile: 50, Max: 1}, repeat(1, 30), nil, NotMeasured},
		"group not chosen":         {Limit{Place: Place{"x", "r"}, Percentile: 50, Max: 1}, repeat(1, 30), nil, NotChosen},
	} {
		r := reportOf(tc.ours, tc.bare)
		got := Objectives{Limits: []Limit{tc.limit}}.Judge(r)
		if len(got) != 1 || got[0].Result != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestObjectivesWithoutACounterpartAreListed(t *testing.T) {
	slo := func(name string) latency.SLO {
		return latency.SLO{Metric: name, Unit: latency.Milliseconds, P50Max: 2, P95Max: 3}
	}
	o := Objectives{
		SLOs:   []latency.SLO{slo("met"), slo("absent"), slo("other group"), slo("no row")},
		Places: map[string]Place{"met": {"g", "r"}, "other group": {"x", "r"}, "no row": {"g", "x"}},
		Absent: map[string]string{"absent": "because"},
	}
	want := []Result{Met, NotApplicable, NotChosen, NotMeasured}
	for i, v := range o.Judge(reportOf(repeat(1, 100), nil)) {
		if v.Result != want[i] || v.Objective != o.SLOs[i].Metric {
			t.Errorf("%+v, want %s", v, want[i])
		}
		if v.Result == NotApplicable && v.Detail != "because" {
			t.Errorf("no reason: %+v", v)
		}
	}
}

func TestSLOsAreJudgedByTheGateOfLatency(t *testing.T) {
	o := Objectives{SLOs: []latency.SLO{{Metric: "m", Unit: latency.Milliseconds, P50Max: 2, P95Max: 3}}, Places: map[string]Place{"m": {"g", "r"}}}
	for name, tc := range map[string]struct {
		samples []float64
		want    Result
	}{
		"met":                   {repeat(2, 100), Met},
		"p95 missed":            {append(repeat(1, 90), repeat(4, 10)...), Missed},
		"p95 is undecided":      {repeat(1, 99), Insufficient},
		"p50 missed, p95 blind": {repeat(3, 40), Missed},
		"nothing":               {nil, NotMeasured},
	} {
		v := o.Judge(reportOf(tc.samples, nil))[0]
		if v.Result != tc.want {
			t.Errorf("%s: %+v", name, v)
		}
	}
	wrong := reportOf(repeat(1, 100), nil)
	wrong.Groups[0].Rows[0].Unit = latency.MiB
	if v := o.Judge(wrong)[0]; v.Result != NotMeasured {
		t.Errorf("in another unit: %+v", v)
	}
}

func TestStagesOfTheServerCanBeJudged(t *testing.T) {
	r := Report{Groups: []Group{{Name: "g", Stages: []latency.Summary{{Name: "lease", Count: 40, Tier: latency.P50P90DecisionGrade, P50: 400e3, P95: 900e3}}}}}
	v := Objectives{Limits: []Limit{{Place: Place{"g", "lease"}, Percentile: 50, Max: 0.5, Below: true}}}.Judge(r)[0]
	if v.Result != Met {
		t.Errorf("%+v", v)
	}
}

func TestOnlyMissesAndGapsKeepTheGateShut(t *testing.T) {
	var r Report
	for _, result := range []Result{Met, Missed, Insufficient, NotMeasured, NotChosen, NotApplicable} {
		r.Verdicts = append(r.Verdicts, Verdict{Result: result})
	}
	if failed := r.Failures(); len(failed) != 3 || failed[0].Result != Missed || len(r.Verdicts) != 6 {
		t.Errorf("%+v", failed)
	}
}

func TestOnlyAGateFailsForObjectives(t *testing.T) {
	r := Report{Verdicts: []Verdict{{Result: Missed}, {Result: Met}}}
	if err := r.Check(false); err != nil {
		t.Errorf("without a gate: %v", err)
	}
	if err := r.Check(true); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("with a gate: %v", err)
	}
	r.Groups = []Group{{Name: "warm", Error: "x"}}
	if err := r.Check(false); err == nil || !strings.Contains(err.Error(), "warm") {
		t.Errorf("a group that failed: %v", err)
	}
}

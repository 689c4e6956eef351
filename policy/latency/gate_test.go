package latency

import (
	"math"
	"slices"
	"testing"
	"time"
)

// measured is a summary with these percentiles, in milliseconds.
func measured(name string, n, p50, p95 int) Summary {
	return Summary{Name: name, Count: n, P50: time.Duration(p50) * time.Millisecond, P95: time.Duration(p95) * time.Millisecond}
}

func TestGate(t *testing.T) {
	slo := SLO{Metric: KillDelete, Unit: Milliseconds, P50Max: 10, P95Max: 20}
	with := func(change func(*SLO)) SLO {
		s := slo
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		slo  SLO
		got  []Summary
		want []Kind
	}{
		"met":                          {slo, []Summary{measured(KillDelete, 100, 9, 19)}, nil},
		"equal passes":                 {slo, []Summary{measured(KillDelete, 100, 10, 20)}, nil},
		"not measured":                 {slo, []Summary{measured(ReadyProbe, 100, 1, 1)}, []Kind{MissingMetric}},
		"no samples":                   {slo, []Summary{measured(KillDelete, 0, 0, 0)}, []Kind{MissingMetric}},
		"median too long":              {slo, []Summary{measured(KillDelete, 100, 11, 20)}, []Kind{P50Exceeded}},
		"tail too long":                {slo, []Summary{measured(KillDelete, 100, 10, 21)}, []Kind{P95Exceeded}},
		"both too long":                {slo, []Summary{measured(KillDelete, 100, 11, 21)}, []Kind{P50Exceeded, P95Exceeded}},
		"too few for the tail":         {slo, []Summary{measured(KillDelete, 99, 1, 1)}, []Kind{InsufficientSamples}},
		"too few, median judged":       {slo, []Summary{measured(KillDelete, 30, 11, 11)}, []Kind{P50Exceeded, InsufficientSamples}},
		"too few for anything":         {slo, []Summary{measured(KillDelete, 29, 11, 21)}, []Kind{InsufficientSamples, InsufficientSamples}},
		"dear samples: 30 do":          {with(func(s *SLO) { s.Family = FamilyDensity }), []Summary{measured(KillDelete, 30, 1, 21)}, []Kind{P95Exceeded}},
		"no limit for the tail":        {with(func(s *SLO) { s.P95Max = 0 }), []Summary{measured(KillDelete, 30, 1, 999)}, nil},
		"another unit":                 {with(func(s *SLO) { s.Unit = Percent }), []Summary{measured(KillDelete, 100, 1, 1)}, []Kind{WrongShape}},
		"twice":                        {slo, []Summary{measured(KillDelete, 100, 1, 1), measured(KillDelete, 100, 1, 1)}, []Kind{WrongShape}},
		"a tail shorter than the rest": {slo, []Summary{measured(KillDelete, 100, 9, 1)}, []Kind{WrongShape}},
		"negative":                     {slo, []Summary{measured(KillDelete, 100, -1, 1)}, []Kind{WrongShape}},
		"less than none":               {slo, []Summary{measured(KillDelete, -1, 1, 1)}, []Kind{WrongShape}},
		"asked by the alias":           {with(func(s *SLO) { s.Metric = ResumeToFirstStdoutAlias }), []Summary{measured(ResumeToFirstStdout, 100, 1, 1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var kinds []Kind
			for _, f := range Gate([]SLO{c.slo}, c.got) {
				kinds = append(kinds, f.Kind)
				if f.Metric != c.slo.Metric || f.Detail == "" || f.String() == "" {
					t.Errorf("a finding says too little: %+v", f)
				}
			}
			if !slices.Equal(kinds, c.want) {
				t.Errorf("found %v, want %v", kinds, c.want)
			}
		})
	}
}

func TestGateOfFiguresThatCannotBe(t *testing.T) {
	slo := []SLO{{Metric: "m", Unit: Percent, P95Max: 1}}
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := GateFigures(slo, []Figure{{Metric: "m", Unit: Percent, Count: 100, P95: bad}}); len(got) != 1 || got[0].Kind != WrongShape {
			t.Errorf("%v: %v", bad, got)
		}
	}
}

func TestFiguresOfOtherUnitsAreNearestRank(t *testing.T) {
	values := make([]float64, 100)
	for i := range values {
		values[i] = float64(99-i) / 100
	}
	f := FigureOf("control_plane_cpu_idle", Percent, values)
	if f.Count != 100 || f.P50 != 0.49 || f.P95 != 0.94 || values[0] != 0.99 {
		t.Errorf("%+v", f)
	}
	if got := GateFigures(OverheadSLOs()[:1], []Figure{f}); len(got) != 0 {
		t.Errorf("below 1 percent: %v", got)
	}
	if got := GateFigures(OverheadSLOs()[:1], []Figure{FigureOf("control_plane_cpu_idle", Percent, nil)}); got[0].Kind != MissingMetric {
		t.Errorf("of nothing: %v", got)
	}
}

// The numbers are written out a second time: an edit of one of them must fail.
func TestObjectivesAreThoseOfTheReference(t *testing.T) {
	want := map[string][2]float64{
		"start.hot_to_first_stdout_ms": {50, 75}, "start.hot_to_ready_ms": {50, 75},
		"start.resume_to_first_stdout_ms": {35, 50}, "start.warm_to_first_stdout_ms": {350, 500},
		"start.agent_task_ready_ms": {50, 75}, "pool.lease_ms": {1, 5},
		"exec.direct_command_start_ms": {15, 25}, "exec.direct_first_stdout_byte_ms": {20, 35},
		"exec.batch_100_small_commands_ms": {2000, 3000},
		"control_plane_cpu_idle":           {0, 1}, "control_plane_rss_idle": {0, 256}, "per_sandbox_host_rss": {0, 128},
		"disk_metadata_growth": {0, 1048576}, "idle_wakeup_rate": {0, 1},
	}
	all := append(LifecycleSLOs(), OverheadSLOs()...)
	for _, s := range all {
		if w, ok := want[s.Metric]; !ok || w != [2]float64{s.P50Max, s.P95Max} {
			t.Errorf("%+v, want %v", s, w)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d objectives, want %d", len(all), len(want))
	}
}

func TestPhaseBudgets(t *testing.T) {
	sums := map[Phase]float64{}
	for _, b := range PhaseBudgets() {
		if b.Max <= 0 || b.Low > b.Max || b.Meets(b.Max) == b.Below || b.Meets(b.Max*1.01) || !b.Meets(b.Max*0.99) {
			t.Errorf("%+v", b)
		}
		sums[b.Phase] += b.Max
	}
	// What a phase's steps may cost together fits the objective of the whole.
	for phase, most := range map[Phase]float64{PhaseHot: 75, PhaseResumed: 50, PhaseWarm: 500} {
		if sums[phase] == 0 || sums[phase] > most {
			t.Errorf("the steps of %s may take %v ms, the whole %v", phase, sums[phase], most)
		}
	}
}

package latency

import (
	"math"
	"slices"
	"testing"
)

// measured is a figure with these percentiles, in milliseconds.
func measured(name string, n int, p50, p95 float64) Figure {
	return Figure{Metric: name, Unit: Milliseconds, Count: n, P50: p50, P95: p95}
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
		got  []Figure
		want []Kind
	}{
		"met":                          {slo, []Figure{measured(KillDelete, 100, 9, 19)}, nil},
		"equal passes":                 {slo, []Figure{measured(KillDelete, 100, 10, 20)}, nil},
		"not measured":                 {slo, []Figure{measured(ReadyProbe, 100, 1, 1)}, []Kind{MissingMetric}},
		"no samples":                   {slo, []Figure{measured(KillDelete, 0, 0, 0)}, []Kind{MissingMetric}},
		"median too long":              {slo, []Figure{measured(KillDelete, 100, 11, 20)}, []Kind{P50Exceeded}},
		"tail too long":                {slo, []Figure{measured(KillDelete, 100, 10, 21)}, []Kind{P95Exceeded}},
		"both too long":                {slo, []Figure{measured(KillDelete, 100, 11, 21)}, []Kind{P50Exceeded, P95Exceeded}},
		"too few for the tail":         {slo, []Figure{measured(KillDelete, 99, 1, 1)}, []Kind{InsufficientSamples}},
		"too few, median judged":       {slo, []Figure{measured(KillDelete, 30, 11, 11)}, []Kind{P50Exceeded, InsufficientSamples}},
		"too few for anything":         {slo, []Figure{measured(KillDelete, 29, 11, 21)}, []Kind{InsufficientSamples, InsufficientSamples}},
		"dear samples: 30 do":          {with(func(s *SLO) { s.Family = FamilyDensity }), []Figure{measured(KillDelete, 30, 1, 21)}, []Kind{P95Exceeded}},
		"no limit for the tail":        {with(func(s *SLO) { s.P95Max = 0 }), []Figure{measured(KillDelete, 30, 1, 999)}, nil},
		"another unit":                 {with(func(s *SLO) { s.Unit = Percent }), []Figure{measured(KillDelete, 100, 1, 1)}, []Kind{WrongShape}},
		"twice":                        {slo, []Figure{measured(KillDelete, 100, 1, 1), measured(KillDelete, 100, 1, 1)}, []Kind{WrongShape}},
		"a tail shorter than the rest": {slo, []Figure{measured(KillDelete, 100, 9, 1)}, []Kind{WrongShape}},
		"negative":                     {slo, []Figure{measured(KillDelete, 100, -1, 1)}, []Kind{WrongShape}},
		"less than none":               {slo, []Figure{measured(KillDelete, -1, 1, 1)}, []Kind{WrongShape}},
		"asked by the alias":           {with(func(s *SLO) { s.Metric = ResumeToFirstStdoutAlias }), []Figure{measured(ResumeToFirstStdout, 100, 1, 1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var kinds []Kind
			for _, f := range Gate([]SLO{c.slo}, c.got) {
				kinds = append(kinds, f.Kind)
				if f.Metric != c.slo.Metric || f.Detail == "" {
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
		if got := Gate(slo, []Figure{{Metric: "m", Unit: Percent, Count: 100, P95: bad}}); len(got) != 1 || got[0].Kind != WrongShape {
			t.Errorf("%v: %v", bad, got)
		}
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

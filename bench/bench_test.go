package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/bench/objectives"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

func quiet() Setup {
	return Setup{Progress: func(string) {}, LoadAverage: func() string { return "0.00" }, MemoryFree: func() int { return 1 << 20 }, Usage: &clockwork{}}
}

// clockwork has used three more milliseconds of processor time at each look.
type clockwork struct{ used time.Duration }

func (*clockwork) Swapped([]int) (float64, error) { return 0, nil }

func (c *clockwork) PSS([]int) (float64, error)            { return 10, nil }
func (c *clockwork) CPU([]int) (time.Duration, error)      { return 0, nil }
func (c *clockwork) Wakeups(...int) (int, error)           { return 0, nil }
func (c *clockwork) Self() (time.Duration, float64, error) { return 0, 0, nil }
func (c *clockwork) Processor() (time.Duration, error) {
	c.used += 3 * time.Millisecond
	return c.used, nil
}

func TestARowHasProcessorTimeWhereItIsKnown(t *testing.T) {
	m := newMeasurement(nil)
	r := m.Compare("row", "", 0)
	a, b := m.since(m.now()), m.since(m.now())
	m.Ours(r, a)
	m.Ours(r, a.Plus(b))
	m.Ours(r, a.Plus(b).Part(2))
	m.Ours(r, a.Plus(cost.WallOnly(time.Second)))
	m.Silent = true
	m.Ours(r, a)
	row := m.Result()[0]
	if row.Ours.Count != 4 || !slices.Equal(row.Processor.Samples, []float64{3, 6, 3}) {
		t.Errorf("%+v", row)
	}
}

func newMeasurement(s *Server) *measurement {
	p := plan.Quick()
	return &measurement{plan: p, setup: quiet(), name: "test", server: s}
}

func TestGroupsAreChosenByNameInTheirOwnOrder(t *testing.T) {
	got, err := choose([]string{"queue", "warm", "queue"})
	if err != nil || len(got) != 2 || got[0].name != "warm" || got[1].name != "queue" {
		t.Errorf("%v, %v", got, err)
	}
	if all, err := choose(nil); err != nil || len(all) != len(groups) {
		t.Errorf("%d groups by default, %v", len(all), err)
	}
	if _, err := choose([]string{"wram"}); err == nil || !strings.Contains(err.Error(), `"wram"`) || !strings.Contains(err.Error(), "warm") {
		t.Errorf("%v", err)
	}
}

func TestWhatCannotBeMeasuredIsInTheReport(t *testing.T) {
	setup := quiet()
	setup.Open = func(context.Context, Config) (*Server, error) { return nil, errors.New("no sandboxes here") }
	got, err := Run(t.Context(), nil, plan.Quick(), setup)
	if err != nil || len(got) != len(groups) {
		t.Fatalf("%d groups, %v", len(got), err)
	}
	for _, g := range got {
		if !strings.Contains(g.Error, "no sandboxes here") {
			t.Errorf("%s: %q", g.Name, g.Error)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	if got, err := Run(ctx, nil, plan.Quick(), setup); err == nil || len(got) != 1 {
		t.Errorf("%d groups after an interrupt, %v", len(got), err)
	}
}

func TestObjectivesAllHaveAPlaceOrAReason(t *testing.T) {
	o := objectives.All()
	for _, slo := range o.SLOs {
		place, measured := o.Places[slo.Metric]
		if measured == (o.Absent[slo.Metric] != "") {
			t.Errorf("%s: measured %t, absent %q", slo.Metric, measured, o.Absent[slo.Metric])
		}
		if measured && !slices.Contains(Groups(), place.Group) {
			t.Errorf("%s: no group %q", slo.Metric, place.Group)
		}
	}
	for _, l := range o.Limits {
		if !slices.Contains(Groups(), l.Place.Group) {
			t.Errorf("%s: no group %q", l.Name, l.Place.Group)
		}
	}
}

func TestTheFullPlanGivesWhatTheGateNeeds(t *testing.T) {
	p := plan.Full()
	for what, tc := range map[string]struct{ n, percentile int }{
		"checkouts": {p.Checkouts, 99}, "samples": {p.Samples, 95}, "batches": {p.Batches, 95},
		"looks at idle processes": {int(p.Idle / idleSample), 95},
	} {
		if !latency.TierOf(tc.n, latency.FamilyLifecycle).Supports(tc.percentile) {
			t.Errorf("%d %s do not support p%d", tc.n, what, tc.percentile)
		}
	}
	if !latency.TierOf(p.Density, latency.FamilyDensity).Supports(95) {
		t.Errorf("%d sandboxes side by side do not support p95", p.Density)
	}
	if p.MemoryMiB() < 2*500 {
		t.Errorf("sandboxes of %d MiB for %v MiB dirtied", p.MemoryMiB(), p.DirtyMiB)
	}
}

func TestFirstRoundsDoNotCountAndAFailureSaysWhere(t *testing.T) {
	m := newMeasurement(nil)
	m.plan.Warmup = 2
	r := m.Compare("x", "y", 0)
	err := m.rounds(t.Context(), 3, func(i int) error {
		m.Ours(r, cost.WallOnly(time.Duration(i+1)*time.Millisecond))
		m.Bare(r, time.Duration(i+1)*time.Second)
		return nil
	})
	if err != nil || !slices.Equal(r.Mine, []float64{3, 4, 5}) || !slices.Equal(r.Other, []float64{3000, 4000, 5000}) {
		t.Errorf("%v %v, %v", r.Mine, r.Other, err)
	}
	broken := errors.New("broken")
	err = m.rounds(t.Context(), 3, func(i int) error {
		if i == 3 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "round 4") {
		t.Errorf("%v", err)
	}
}

func TestAPoolThatIsNotFilledIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		m := newMeasurement(&Server{Load: func() Load {
			return Load{Ready: int(time.Since(begin) / time.Second)}
		}})
		if err := m.filled(t.Context(), Config{Warm: 3}); err != nil || time.Since(begin) < 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		m.plan.Patience = 5 * time.Second
		if err := m.filled(t.Context(), Config{Warm: 100}); err == nil || !strings.Contains(err.Error(), "the pool is full") {
			t.Errorf("%v", err)
		}
	})
}

func TestManyRunsSoManyAtATimeAndReportsWhatFailed(t *testing.T) {
	var now, most, calls atomic.Int32
	made, done, err := many(20, 3, func() (int32, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		if n := calls.Add(1); n%5 == 0 {
			return 0, fmt.Errorf("call %d", n)
		}
		return 1, nil
	})
	if len(made) != 16 || len(done) != 16 || err == nil || !strings.Contains(err.Error(), "call 15") || most.Load() > 3 {
		t.Errorf("%d made, %d times, %d at a time, %v", len(made), len(done), most.Load(), err)
	}
}

func TestBeingOvertakenByOnesOwnKeyIsAFailure(t *testing.T) {
	m := newMeasurement(nil)
	if err := m.judgeOrder([]place{{"b", 0}, {"a", 0}, {"a", 1}, {"b", 1}}); err != nil || m.Facts[0] != "served: b1 a1 a2 b2" {
		t.Errorf("%v, %q", err, m.Facts)
	}
	if err := m.judgeOrder([]place{{"a", 1}, {"b", 0}, {"a", 0}}); err == nil || !strings.Contains(err.Error(), "key a") {
		t.Errorf("%v", err)
	}
}

func TestARefusalMustSayWhenToComeBack(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		after  string
		ok     bool
	}{
		"as it should be":  {429, "1", true},
		"no time":          {429, "", false},
		"another error":    {500, "1", false},
		"served after all": {201, "", false},
	} {
		var killed atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				killed.Add(1)
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.Header().Set("Retry-After", tc.after)
			w.WriteHeader(tc.status)
			_ = json.NewEncoder(w).Encode(map[string]any{"sandboxID": "i1", "message": "no"})
		}))
		m := newMeasurement(&Server{API: client.API{URL: srv.URL}})
		err := m.refused(t.Context())
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
		if (killed.Load() > 0) != (tc.status == 201) {
			t.Errorf("%s: %d killed", name, killed.Load())
		}
		srv.Close()
	}
}

func TestSizesThatDoNotFitAreLeftOutAloud(t *testing.T) {
	closed := 0
	setup := quiet()
	setup.MemoryFree = func() int { return 1 }
	setup.Open = func(context.Context, Config) (*Server, error) {
		return &Server{Load: func() Load { return Load{Ready: 99} }, Samples: &latency.Recorder{}, Close: func() error { closed++; return nil }}, nil
	}
	for _, name := range []string{"burst", "density"} {
		chosen, _ := choose([]string{name})
		g := chosen[0].run(t.Context(), plan.Quick(), setup)
		if text := g.Error + strings.Join(g.Facts, ""); !strings.Contains(text, "this machine has 1 MiB free") {
			t.Errorf("%s: %q", name, text)
		}
		if g.Plot != report.PlotBars || len(g.Rows) != 0 {
			t.Errorf("%+v", g)
		}
	}
	if closed != 2 {
		t.Errorf("%d servers closed of the two that a burst opens", closed)
	}
}

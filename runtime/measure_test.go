package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Stats shows a machine that uses half a processor since the beginning of time.
func (d recordingDriver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	s, err := d.Driver.Stats(ctx, id)
	if err == nil {
		err = d.f.failing("stats")
	}
	s.CPUTime, s.MemoryBytes = time.Duration(s.Time.UnixNano()/2), 77
	return s, err
}

func (f *fixture) metrics(id string, start, end time.Time) []Metric {
	f.t.Helper()
	got, err := f.rt.Metrics(context.Background(), id, start, end)
	if err != nil {
		f.t.Fatal(err)
	}
	newest, there, err := f.rt.NewestMetric(context.Background(), id)
	all, _ := f.rt.Metrics(context.Background(), id, time.Time{}, time.Time{})
	if err != nil || there != (len(all) > 0) || there && newest != all[len(all)-1] {
		f.t.Errorf("the newest is %+v, %v, %v", newest, there, err)
	}
	return got
}

func TestMetricsComeWithin30SecondsAndStayWithinTheirBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		begin := time.Now()
		sb := f.create()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if len(got) != 2 {
			t.Fatalf("%d measurements after 30 s", len(got))
		}
		want := Metric{Time: begin.Add(20 * time.Second), CPUUsedPct: 25, CPUCount: 2, MemUsed: 77, MemTotal: 512 << 20, DiskTotal: 1 << 30}
		first := got[0]
		if !first.Time.Equal(want.Time) {
			t.Errorf("measured at %v, want %v", first.Time, want.Time)
		}
		if first.Time = want.Time; first != want {
			t.Errorf("measured %+v, want %+v", first, want)
		}
		for name, c := range map[string]struct {
			start, end time.Time
			want       int
		}{
			"before its creation": {begin.Add(-time.Hour), begin.Add(-time.Second), 0},
			"until the first":     {begin, begin.Add(20 * time.Second), 1},
			"from the second":     {begin.Add(21 * time.Second), time.Time{}, 1},
			"all":                 {begin, begin.Add(time.Hour), 2},
			"the future":          {begin.Add(time.Hour), time.Time{}, 0},
		} {
			if got := f.metrics(sb.ID, c.start, c.end); len(got) != c.want {
				t.Errorf("%s: %d measurements, want %d", name, len(got), c.want)
			}
		}
	})
}

func TestMetricsAreKeptForAnHourAndGoWithTheSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(func(r *CreateRequest) { r.Timeout = 10 * time.Hour })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if n := len(got); n != 361 || time.Since(got[0].Time) != time.Hour {
			t.Errorf("%d measurements since %v", n, got[0].Time)
		}
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := f.rt.Metrics(context.Background(), sb.ID, time.Time{}, time.Time{}); !errors.Is(err, ErrSandboxNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestAPausedSandboxIsNotMeasuredAndAResumedOneAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(func(r *CreateRequest) { r.Timeout = 10 * time.Hour })
		time.Sleep(25 * time.Second)
		f.pause(sb.ID)
		f.forgetHistory()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(f.history()); n != 0 {
			t.Errorf("a paused sandbox was looked at: %v", f.history())
		}
		f.resume(sb.ID)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if len(got) != 2 || got[1].Time.Sub(got[0].Time) < 10*time.Minute || got[1].CPUUsedPct != 25 {
			t.Errorf("%+v", got)
		}
	})
}

func TestASandboxThatCannotBeMeasuredHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		a, b := f.create(), f.create()
		time.Sleep(15 * time.Second)
		f.failNext("stats", 1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(f.metrics(a.ID, time.Time{}, time.Time{})) + len(f.metrics(b.ID, time.Time{}, time.Time{})); n != 1 {
			t.Errorf("%d measurements, want that of one", n)
		}
	})
}

func TestAMachineWhoseClockStandsStillIsNotMeasured(t *testing.T) {
	var u usage
	at := time.Now()
	for range 3 {
		u.add(1, vm.Stats{Time: at}, 0)
	}
	u.add(1, vm.Stats{Time: at.Add(-time.Second)}, 0)
	if len(u.readings) != 0 {
		t.Errorf("%+v", u.readings)
	}
}

func TestMetricsOfWhatIsNotShown(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	h, _ := f.rt.find(sb.ID)
	h.update(func(row *store.Sandbox) { row.State = string(StateCreating) })
	for _, id := range []string{sb.ID, "inobody"} {
		if _, _, err := f.rt.NewestMetric(context.Background(), id); !errors.Is(err, ErrSandboxNotFound) {
			t.Errorf("the newest of %s: %v", id, err)
		}
		if _, err := f.rt.Metrics(context.Background(), id, time.Time{}, time.Time{}); !errors.Is(err, ErrSandboxNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	h.update(func(row *store.Sandbox) { row.State = string(StateRunning) })
}

func BenchmarkMeasure(b *testing.B) {
	var u usage
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(measureTick)
		u.add(1, vm.Stats{Time: at}, 2)
	}
}

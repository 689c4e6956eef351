package runtime

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Stats shows a machine that uses half a processor since the beginning of time.
func (d recordingDriver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	s, err := d.Driver.Stats(ctx, id)
	if err == nil {
		err = d.f.failing("stats")
	}
	s.CPUTime, s.MemoryBytes = time.Duration(s.Time.UnixNano()/2), 77<<10
	return s, err
}

// guestUsage is the usage that a guest reports to a caller with its token.
func (f *fixture) guestUsage(id string, req *http.Request) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uses[id] == "" || req.Header.Get(envd.AccessTokenHeader) != f.inits[id].AccessToken {
		return ""
	}
	f.asked[id]++
	return f.uses[id]
}

func (f *fixture) metrics(id string, start, end time.Time) []sandbox.Metric {
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

func TestMetricsComeWithinFiveSecondsAndStayWithinTheirBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		begin := time.Now()
		sb := f.create()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if len(got) != 3 {
			t.Fatalf("%d measurements after 30 s", len(got))
		}
		want := sandbox.Metric{Time: begin.Add(4 * time.Second), CPUUsedPct: 25, CPUCount: 2, MemUsed: 77 << 10, MemTotal: 512 << 20, DiskTotal: 1 << 30}
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
			"until the first":     {begin, begin.Add(5 * time.Second), 1},
			"from the second":     {begin.Add(11 * time.Second), time.Time{}, 2},
			"all":                 {begin, begin.Add(time.Hour), 3},
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
		sb := f.create(func(r *sandbox.CreateRequest) { r.Timeout = 10 * time.Hour })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if n := len(got); n != 360 || time.Since(got[0].Time) < 59*time.Minute {
			t.Errorf("%d measurements since %v", n, got[0].Time)
		}
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := f.rt.Metrics(context.Background(), sb.ID, time.Time{}, time.Time{}); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestAPausedSandboxIsNotMeasuredAndAResumedOneAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(func(r *sandbox.CreateRequest) { r.Timeout = 10 * time.Hour })
		time.Sleep(25 * time.Second)
		f.pause(sb.ID)
		f.forgetHistory()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(f.history()); n != 0 {
			t.Errorf("a paused sandbox was looked at: %v", f.history())
		}
		f.resume(sb.ID)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := f.metrics(sb.ID, time.Time{}, time.Time{})
		if len(got) != 4 || got[3].Time.Sub(got[2].Time) < 10*time.Minute || got[3].CPUUsedPct != 25 {
			t.Errorf("%+v", got)
		}
	})
}

func TestASandboxThatCannotBeMeasuredHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		a, b := f.create(), f.create()
		time.Sleep(3 * time.Second)
		f.failNext("stats", 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(f.metrics(a.ID, time.Time{}, time.Time{})) + len(f.metrics(b.ID, time.Time{}, time.Time{})); n != 1 {
			t.Errorf("%d measurements, want that of one", n)
		}
	})
}

func TestMetricsOfWhatIsNotShown(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	h, _ := f.rt.live.Find(sb.ID)
	h.Update(func(row *store.Sandbox) { row.State = sandbox.StateCreating })
	for _, id := range []string{sb.ID, "inobody"} {
		if _, _, err := f.rt.NewestMetric(context.Background(), id); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("the newest of %s: %v", id, err)
		}
		if _, err := f.rt.Metrics(context.Background(), id, time.Time{}, time.Time{}); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	h.Update(func(row *store.Sandbox) { row.State = sandbox.StateRunning })
}

func TestMemoryAndDiskAreWhatTheGuestCounts(t *testing.T) {
	says := `{"mem_used":1048576,"mem_cache":2097152,"disk_used":209715200}`
	for name, c := range map[string]struct {
		says   string
		secure bool
		want   sandbox.Metric
	}{
		"with a token": {says, true, sandbox.Metric{MemUsed: 1 << 20, MemCache: 2 << 20, DiskUsed: 200 << 20}},
		"an open one":  {says, false, sandbox.Metric{MemUsed: 1 << 20, MemCache: 2 << 20, DiskUsed: 200 << 20}},
		"a liar": {`{"mem_used":9000000000000000000,"mem_cache":-5,"disk_used":90000000000}`, true,
			sandbox.Metric{MemUsed: 512 << 20, DiskUsed: 1 << 30}},
		"nonsense": {`{"mem_used":"x"}`, true, sandbox.Metric{MemUsed: 77 << 10}},
		"too much": {`{"a":"` + strings.Repeat("x", 1<<20) + `"}`, true, sandbox.Metric{MemUsed: 77 << 10}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				id := f.create(func(r *sandbox.CreateRequest) { r.Secure = c.secure }).ID
				f.mu.Lock()
				f.uses[id] = c.says
				f.mu.Unlock()
				time.Sleep(5 * time.Second)
				synctest.Wait()
				got := f.metrics(id, time.Time{}, time.Time{})
				c.want.MemTotal, c.want.DiskTotal, c.want.CPUCount, c.want.CPUUsedPct = 512<<20, 1<<30, 2, 25
				if len(got) != 1 {
					t.Fatalf("%d measurements in 5 s", len(got))
				}
				if c.want.Time = got[0].Time; got[0] != c.want {
					t.Errorf("%+v, want %+v", got[0], c.want)
				}
			})
		})
	}
}

// TestAnIdleGuestIsLeftAlone: it is measured by what it said last. One that does
// not answer is asked ever less often.

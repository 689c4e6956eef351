package runtime

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
)

// fakeHost is a host with given figures.
type fakeHost struct {
	mu  sync.Mutex
	now autoscale.Sample
	err error
}

func (m *fakeHost) sample() (autoscale.Sample, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.err
}

func (m *fakeHost) set(s autoscale.Sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = s
}

// calm is a machine of 16 GiB with 12 GiB to spare.
func calm() autoscale.Sample {
	return autoscale.Sample{MemoryTotal: 16 << 30, MemoryAvailable: 12 << 30, DiskTotal: 200 << 30, DiskFree: 100 << 30}
}

// pressed runs a test over a runtime that looks every 5 seconds, with a full pool.
func pressed(t *testing.T, test func(t *testing.T, f *fixture, m *fakeHost)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, m := newFixture(t), &fakeHost{now: calm()}
		f.cfg.Warm = pool.Target{Ready: 3, Prepared: 2}
		f.cfg.Floors = disk.FloorsFor(200 << 30)
		f.supervised(Supervision{Pressure: 5 * time.Second, Sample: m.sample})
		defer f.rt.Close()
		if err := f.rt.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if got := f.pooled(); got != [2]int{3, 2} {
			t.Fatalf("pooled %v", got)
		}
		test(t, f, m)
	})
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAMachineShortOfMemoryGivesUpItsPoolThenRefusesAndRecovers(t *testing.T) {
	pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
		sb := f.create(hours)
		after(10 * time.Second)
		short := calm()
		short.MemoryAvailable = 1 << 30 // Of 1.6 GiB that are kept.
		m.set(short)
		var order []string
		seen := map[string]bool{}
		note := func(what string, is bool) {
			if is && !seen[what] {
				seen[what] = true
				order = append(order, what)
			}
		}
		for range 20 {
			after(5 * time.Second)
			refill := f.rt.pool.Limits().Refill
			note("stop refill", refill == warmpool.RefillNone)
			note("evict warm", f.pooled()[0] < 3)
			note("destroy prepared", f.pooled()[1] < 2)
			note("refuse", f.rt.Pressure().Refusing != "")
		}
		if got := strings.Join(order, ", "); got != "stop refill, evict warm, destroy prepared, refuse" {
			t.Errorf("order: %s", got)
		}
		if got := f.pooled(); got != [2]int{0, 0} {
			t.Errorf("pooled %v", got)
		}
		_, err := f.rt.Create(context.Background(), request())
		var refused *sandbox.CapacityError
		if !errors.As(err, &refused) || refused.Resource != "pressure" || refused.RetryAfter == 0 ||
			!strings.Contains(refused.Detail, "1024 MiB of memory are available, and 1638 MiB are kept for the host") {
			t.Errorf("create: %v", err)
		}
		if got, err := f.rt.Get(context.Background(), sb.ID); err != nil || got.State != sandbox.StateRunning {
			t.Errorf("active work was touched: %+v, %v", got, err)
		}
		m.set(calm())
		after(10 * time.Second)
		if f.rt.Pressure().Refusing == "" {
			t.Error("it is taken for gone at once")
		}
		after(time.Minute)
		if p := f.rt.Pressure(); p.Refusing != "" || p.State != autoscale.Nominal {
			t.Errorf("after the pressure: %+v", p)
		}
		f.create(hours)
		after(time.Minute)
		if got := f.pooled(); got != [2]int{3, 2} {
			t.Errorf("after the pressure there are %v pooled", got)
		}
		if n := f.rt.Pressure().Entered; n[autoscale.Shrink] != 1 || n[autoscale.Critical] != 0 {
			t.Errorf("entered %v", n)
		}
	})
}

func TestBusyProcessorsAndDisksRefuseNothing(t *testing.T) {
	full := autoscale.Pressure{Some: 100, Full: 100}
	for name, change := range map[string]func(*autoscale.Sample){
		"processors": func(s *autoscale.Sample) { s.CPU = full },
		"disk":       func(s *autoscale.Sample) { s.IO = full },
		"both":       func(s *autoscale.Sample) { s.CPU, s.IO = full, full },
		// A sandbox that thrashes at its own limit stalls no other.
		"memory of a sandbox": func(s *autoscale.Sample) { s.Memory = full },
		"nothing is known":    func(s *autoscale.Sample) { *s = autoscale.Sample{} },
	} {
		t.Run(name, func(t *testing.T) {
			pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
				s := calm()
				change(&s)
				m.set(s)
				after(10 * time.Minute)
				if p := f.rt.Pressure(); p.Refusing != "" {
					t.Errorf("refusing: %+v", p)
				}
				if got := f.pooled(); got != [2]int{3, 2} {
					t.Errorf("pooled %v", got)
				}
				f.create(hours)
			})
		})
	}
}

func TestABusyMachineOfTwoProcessorsStillFillsItsPool(t *testing.T) {
	pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
		s := calm()
		s.CPU, s.IO = autoscale.Pressure{Some: 93}, autoscale.Pressure{Some: 30, Full: 20} // Measured while test-suites ran.
		m.set(s)
		after(time.Minute)
		f.create(hours)
		after(time.Minute)
		if got := f.pooled(); got != [2]int{3, 2} {
			t.Errorf("pooled %v in state %v", got, f.rt.Pressure().State)
		}
	})
}

func TestAMachineThatRunsOutOfMemoryAtOnceRefusesAtOnce(t *testing.T) {
	pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
		s := calm()
		s.MemoryAvailable = 256 << 20
		m.set(s)
		after(5 * time.Second)
		if p := f.rt.Pressure(); p.State != autoscale.Critical || p.Refusing == "" {
			t.Errorf("%+v", p)
		}
	})
}

func TestADiskBelowTheFloorOfARestoreRefuses(t *testing.T) {
	pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
		s := calm()
		s.DiskFree = f.cfg.Floors.Restore
		m.set(s)
		after(5 * time.Minute)
		if p := f.rt.Pressure(); p.Refusing != "" {
			t.Errorf("at the floor: %+v", p)
		}
		s.DiskFree--
		m.set(s)
		after(time.Minute)
		if p := f.rt.Pressure(); !strings.Contains(p.Refusing, "MiB of disk are free") {
			t.Errorf("below it: %+v", p)
		}
	})
}

func TestAFailureToSampleIsToldOnceAndEndsNothing(t *testing.T) {
	pressed(t, func(t *testing.T, f *fixture, m *fakeHost) {
		var text strings.Builder
		f.cfg.Log = slog.New(slog.NewTextHandler(&text, nil))
		f.restart()
		m.mu.Lock()
		m.now, m.err = autoscale.Sample{}, errInjected
		m.mu.Unlock()
		after(10 * time.Minute)
		if n := strings.Count(text.String(), "injected"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		short := calm()
		short.MemoryAvailable = 1 << 20
		m.mu.Lock()
		m.now, m.err = short, nil
		m.mu.Unlock()
		after(time.Minute)
		if f.rt.Pressure().Refusing == "" {
			t.Error("the loop has ended")
		}
	})
}

func TestTheSampleIsThatOfThisMachine(t *testing.T) {
	probe := host.Host{}
	root := t.TempDir()
	total, err := probe.TotalBytes(root)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	s, err := supervise.HostSample(probe, probe, root, total)()
	if err != nil || s.MemoryTotal <= 0 || s.MemoryAvailable <= 0 || s.MemoryAvailable > s.MemoryTotal || s.DiskTotal != total || s.DiskFree <= 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	policy := pressure.New(pressureOf(Config{Floors: disk.FloorsFor(total), Supervision: DefaultSupervision()}))
	t.Logf("%+v: %+v", s, policy.Step(time.Now(), s, "", nil))
}

func TestWhatTheHostDoesNotTellIsNoError(t *testing.T) {
	s, err := supervise.HostSample(host.Host{Proc: t.TempDir()}, failingProbe{errors.ErrUnsupported}, "/", 1)()
	if err != nil || s != (autoscale.Sample{}) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := supervise.HostSample(host.Host{}, failingProbe{errInjected}, "/", 1)(); !errors.Is(err, errInjected) {
		t.Errorf("a probe that fails: %v", err)
	}
}

type failingProbe struct{ error }

func (p failingProbe) FreeBytes(string) (int64, error) { return 0, p.error }

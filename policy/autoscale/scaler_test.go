package autoscale

import (
	"slices"
	"testing"
	"time"
)

const gib = 1 << 30

var (
	t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	// calm is a 64 GiB machine: it reserves 9.6 GiB of memory and 100 GiB of disk.
	calm = Sample{MemoryAvailable: 40 * gib, MemoryTotal: 64 * gib, DiskFree: 500 * gib, DiskTotal: 1000 * gib}
)

func with(change func(*Sample)) Sample {
	s := calm
	change(&s)
	return s
}

func memory(available float64) Sample {
	return with(func(s *Sample) { s.MemoryAvailable = int64(available * gib) })
}

// driver steps a scaler once per period.
type driver struct {
	t      *testing.T
	scaler Scaler
	now    time.Time
	period time.Duration
}

func newDriver(t *testing.T) *driver {
	return &driver{t: t, scaler: New(Default()), now: t0, period: 500 * time.Millisecond}
}

func (d *driver) step(s Sample, state State, want ...Decision) {
	d.t.Helper()
	got, decisions := d.scaler.Step(d.now, s)
	if got != state || !slices.Equal(decisions, want) {
		d.t.Errorf("after %v: got %v %v,\nwant %v %v", d.now.Sub(t0), got, decisions, state, want)
	}
	d.now = d.now.Add(d.period)
}

func TestEachThresholdLeadsToItsState(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sample Sample
		want   State
	}{
		{"calm", calm, Nominal},
		{"memory at 125 % of the reserve", memory(12), Nominal},
		{"memory below 125 % of the reserve", memory(11.9), Watch},
		{"memory at the reserve", memory(9.6), Watch},
		{"memory below the reserve", memory(9.59), Shrink},
		{"memory below half of the reserve", memory(4.79), Critical},
		{"disk below 125 % of the reserve", with(func(s *Sample) { s.DiskFree = 124 * gib }), Watch},
		{"disk below the reserve", with(func(s *Sample) { s.DiskFree = 99 * gib }), Shrink},
		{"disk below half of the reserve", with(func(s *Sample) { s.DiskFree = 49 * gib }), Critical},
		{"some tasks wait for memory", with(func(s *Sample) { s.Memory.Some = 5 }), Watch},
		{"some wait much for memory", with(func(s *Sample) { s.Memory.Some = 20 }), Shrink},
		{"all wait for memory", with(func(s *Sample) { s.Memory.Full = 5 }), Shrink},
		{"all wait much for memory", with(func(s *Sample) { s.Memory.Full = 20 }), Critical},
		{"a busy processor is normal", with(func(s *Sample) { s.CPU.Some = 69 }), Nominal},
		{"a queue for the processor", with(func(s *Sample) { s.CPU.Some = 70 }), Watch},
		{"a queue all of the time", with(func(s *Sample) { s.CPU.Some = 100; s.CPU.Full = 100 }), Shrink},
		{"a busy disk", with(func(s *Sample) { s.IO.Some = 40 }), Watch},
		{"all wait for the disk", with(func(s *Sample) { s.IO.Full = 40 }), Shrink},
		{"nothing is known", Sample{}, Nominal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New(Default())
			if got, _ := s.Step(t0, tc.sample); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestShrinkOrderIsTheTableAndOneMeasureAtATime(t *testing.T) {
	d := newDriver(t)
	d.step(calm, Nominal, RefillHot, ResumeSnapshot, StartWarm)
	low := memory(9)
	order := []Decision{StopRefill, StopSidecars, EvictWarm, TrimIdleDisk, SuspendIdle, DestroyPrepared, RefuseNewWork}
	for n := range order {
		d.step(low, Shrink, order[:n+1]...)
	}
	d.step(low, Shrink, order...)
}

func TestCriticalTakesAllMeasuresAtOnce(t *testing.T) {
	d := newDriver(t)
	d.step(memory(1), Critical, StopRefill, StopSidecars, EvictWarm, TrimIdleDisk, SuspendIdle, DestroyPrepared, RefuseNewWork)
}

func TestNothingIsSuspendedForADiskThatIsShort(t *testing.T) {
	d := newDriver(t)
	d.step(with(func(s *Sample) { s.DiskFree = 49 * gib }), Critical, StopRefill, StopSidecars, EvictWarm, TrimIdleDisk, DestroyPrepared, RefuseNewWork)
	d.step(with(func(s *Sample) { s.MemoryAvailable = gib; s.DiskFree = 99 * gib }), Critical, shrinkOrder[:]...)
	d.step(with(func(s *Sample) { s.Memory.Some = 20; s.DiskFree = 49 * gib }), Critical, shrinkOrder[:]...)
}

func TestAMeasureHasTimeToTakeEffect(t *testing.T) {
	d := newDriver(t)
	d.period = 100 * time.Millisecond
	for range 5 {
		d.step(memory(9), Shrink, StopRefill)
	}
	d.step(memory(9), Shrink, StopRefill, StopSidecars)
}

func TestProcessorPressureNeitherEvictsNorRefuses(t *testing.T) {
	d := newDriver(t)
	busy := with(func(s *Sample) { s.CPU.Some = 100; s.CPU.Full = 100; s.IO.Full = 100 })
	d.step(busy, Shrink, StopRefill)
	for range 20 {
		d.step(busy, Shrink, StopRefill, StopSidecars)
	}
}

// TestActiveWorkIsNeverKilled holds by construction: there is no decision for
// it. It fails when somebody adds one without deciding that it is harmless.
func TestActiveWorkIsNeverKilled(t *testing.T) {
	harmless := []Decision{Hold, RefillHot, ResumeSnapshot, StartWarm,
		StopRefill, StopSidecars, EvictWarm, TrimIdleDisk, SuspendIdle, DestroyPrepared, RefuseNewWork}
	s := New(Default())
	now := t0
	for i := range 2000 {
		now = now.Add(time.Duration(i%7) * 300 * time.Millisecond)
		_, decisions := s.Step(now, memory(float64(i*37%30)))
		for _, d := range decisions {
			if !slices.Contains(harmless, d) {
				t.Fatalf("unexpected decision %q", d)
			}
		}
	}
}

func TestRecoveryWaitsForTheHoldTimeAndThenFillsReadyFirst(t *testing.T) {
	d := newDriver(t)
	d.step(memory(1), Critical, shrinkOrder[:]...)
	for range 4 { // 2 s of calm; what was refused stays refused.
		d.step(calm, Critical, StopRefill, StopSidecars, RefuseNewWork, Hold)
	}
	d.step(calm, Recovery, ResumeSnapshot, RefillHot)
	for range 4 {
		d.step(calm, Recovery, ResumeSnapshot, RefillHot)
	}
	d.step(calm, Nominal, RefillHot, ResumeSnapshot, StartWarm)
}

func TestRecoveryGoesThroughWatchWhileRoomIsScarce(t *testing.T) {
	d := newDriver(t)
	d.step(memory(9), Shrink, StopRefill)
	for range 4 {
		d.step(memory(11), Shrink, StopRefill, Hold)
	}
	for range 10 {
		d.step(memory(11), Watch, Hold, ResumeSnapshot)
	}
	for range 4 {
		d.step(calm, Watch, Hold, ResumeSnapshot)
	}
	d.step(calm, Recovery, ResumeSnapshot, RefillHot)
}

func TestPressureThatComesBackRestartsTheHoldTime(t *testing.T) {
	d := newDriver(t)
	d.step(memory(9), Shrink, StopRefill)
	for range 10 {
		d.step(calm, Shrink, StopRefill, Hold)
		d.step(calm, Shrink, StopRefill, Hold)
		if state, _ := d.scaler.Step(d.now, memory(9.7)); state != Shrink { // better, but not by the margin.
			t.Fatalf("got %v", state)
		}
	}
}

func TestLeavingCriticalStopsAtTheWorstSeenInTheHoldTime(t *testing.T) {
	d := newDriver(t)
	d.step(memory(1), Critical, shrinkOrder[:]...)
	d.step(memory(9), Critical, shrinkOrder[:]...) // still Shrink: measures go on.
	for range 3 {
		d.step(calm, Critical, StopRefill, StopSidecars, RefuseNewWork, Hold)
	}
	d.step(calm, Shrink, StopRefill, StopSidecars, RefuseNewWork, Hold)
}

func TestAValueAtAThresholdDoesNotFlap(t *testing.T) {
	s := New(Default())
	now, changes := t0, 0
	last := s.State()
	for i := range 1000 {
		now = now.Add(time.Second)
		state, _ := s.Step(now, memory(9.6+float64(i%2)*0.5-0.25))
		if state != last {
			changes, last = changes+1, state
		}
	}
	if changes != 1 { // to Shrink, for good.
		t.Errorf("%d changes of state", changes)
	}
}

func TestAScalerIsAValue(t *testing.T) {
	s := New(Default())
	try := s
	if state, _ := try.Step(t0, memory(1)); state != Critical || s.State() != Nominal {
		t.Errorf("the copy is %v, the original %v", state, s.State())
	}
}

func TestStatesHaveNames(t *testing.T) {
	for s, want := range map[State]string{Nominal: "nominal", Watch: "watch", Shrink: "shrink", Critical: "critical", Recovery: "recovery", 9: "unknown"} {
		if s.String() != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
}

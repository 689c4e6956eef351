package autoscale

import (
	"math"
	"testing"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

func TestReserveFloors(t *testing.T) {
	c := Default()
	for _, tc := range []struct {
		name    string
		reserve Reserve
		total   int64
		want    float64 // GiB
	}{
		{"a small machine keeps three quarters of its memory", c.ReserveMemory, 4 * gib, 1},
		{"16 GiB", c.ReserveMemory, 16 * gib, 4},
		{"from 32 GiB on it is 8 GiB", c.ReserveMemory, 32 * gib, 8},
		{"48 GiB", c.ReserveMemory, 48 * gib, 8},
		{"beyond, 15 %", c.ReserveMemory, 100 * gib, 15},
		{"a small disk", c.ReserveDisk, 40 * gib, 10},
		{"from 80 GiB on it is 20 GiB", c.ReserveDisk, 80 * gib, 20},
		{"beyond 200 GiB, 10 %", c.ReserveDisk, 1000 * gib, 100},
		{"the reference on a small machine", Reserve{Bytes: 8 * gib, Percent: 15, AtMostPercent: 100}, 4 * gib, 4},
		{"nothing", c.ReserveMemory, 0, 0},
		{"a huge total", c.ReserveDisk, math.MaxInt64, float64(math.MaxInt64/100*10) / gib},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := float64(tc.reserve.Of(tc.total)) / gib; math.Abs(got-tc.want) > 0.001 {
				t.Errorf("got %.3f GiB, want %.3f", got, tc.want)
			}
		})
	}
}

func TestWarmTargetIsTheSmallerOfConfiguredAndWhatFits(t *testing.T) {
	free := capacity.Budget{CPUs: 4000, MemoryBytes: 8 * gib, DiskBytes: 100 * gib, Sandboxes: 50}
	for _, tc := range []struct {
		name       string
		configured int
		free, per  capacity.Budget
		want       int
	}{
		{"configured", 3, free, capacity.Budget{MemoryBytes: gib}, 3},
		{"memory", 30, free, capacity.Budget{CPUs: 1, MemoryBytes: gib + 1}, 7},
		{"processor", 30, free, capacity.Budget{CPUs: 1000, MemoryBytes: gib}, 4},
		{"disk", 30, free, capacity.Budget{DiskBytes: 50 * gib}, 2},
		{"sandboxes", 300, free, capacity.Budget{Sandboxes: 1}, 50},
		{"a touched reserve", 3, capacity.Budget{MemoryBytes: -1}, capacity.Budget{MemoryBytes: 1}, 0},
		{"a negative configuration", -3, free, capacity.Budget{}, 0},
		{"an entry that needs nothing", 3, capacity.Budget{}, capacity.Budget{}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := WarmTarget(tc.configured, tc.free, tc.per); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestSpareIsWhatIsLeftAfterTheReserves(t *testing.T) {
	c := Default()
	got := c.Spare(Sample{MemoryAvailable: 9 * gib, MemoryTotal: 48 * gib, DiskFree: 5 * gib, DiskTotal: 40 * gib})
	if got.MemoryBytes != gib || got.DiskBytes>>20 != -5*1024 {
		t.Errorf("got %+v, want 1 GiB of memory and -5 GiB of disk", got)
	}
	if got := c.Spare(Sample{}); WarmTarget(7, got, capacity.Budget{CPUs: 1000, MemoryBytes: gib, DiskBytes: gib, Sandboxes: 1}) != 7 {
		t.Errorf("an unknown machine limits the pool: %+v", got)
	}
}

func TestLimitsFollowTheDecisions(t *testing.T) {
	spare := capacity.Budget{CPUs: 1 << 40, MemoryBytes: 2 * gib, DiskBytes: 1 << 50, Sandboxes: 1 << 40}
	short := spare
	short.MemoryBytes = -3 * gib
	warm := Warm{Configured: 10, Ready: 5, Prepared: 4, PerEntry: capacity.Budget{MemoryBytes: gib}, InFlight: 2}
	var none = math.MaxInt
	for _, tc := range []struct {
		name      string
		decisions []Decision
		spare     capacity.Budget
		want      warmpool.Limits
	}{
		{"nominal grows into what is spare", []Decision{RefillHot, ResumeSnapshot, StartWarm}, spare, warmpool.Limits{Ready: 7, Prepared: none, InFlight: 2, Refill: warmpool.RefillAll}},
		{"recovery", []Decision{ResumeSnapshot, RefillHot}, spare, warmpool.Limits{Ready: 7, Prepared: none, InFlight: 2, Refill: warmpool.RefillReady}},
		{"watch", []Decision{Hold, ResumeSnapshot}, spare, warmpool.Limits{Ready: 7, Prepared: none, InFlight: 2, Refill: warmpool.RefillRaise}},
		{"without eviction nothing is cut", []Decision{StopRefill, StopSidecars}, short, warmpool.Limits{Ready: 5, Prepared: none, InFlight: 2}},
		{"eviction cuts to what fits", shrinkOrder[:3], short, warmpool.Limits{Ready: 2, Prepared: none, InFlight: 2}},
		{"eviction cuts a quarter where all fits", shrinkOrder[:3], spare, warmpool.Limits{Ready: 3, Prepared: none, InFlight: 2}},
		{"prepared entries last", shrinkOrder[:6], short, warmpool.Limits{Ready: 2, Prepared: 3, InFlight: 2}},
		{"all in critical", shrinkOrder[:], spare, warmpool.Limits{InFlight: 2}},
		{"hold cuts nothing", []Decision{StopRefill, StopSidecars, RefuseNewWork, Hold}, short, warmpool.Limits{Ready: 5, Prepared: none, InFlight: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Limits(tc.decisions, tc.spare, warm); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	warm.Configured = 1
	if got := Limits([]Decision{Hold}, short, warm).Ready; got != 1 {
		t.Errorf("got %d, want no more than is configured", got)
	}
}

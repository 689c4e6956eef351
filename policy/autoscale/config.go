package autoscale

import "time"

// Config are the thresholds. Start from Default.
type Config struct {
	// Memory, CPU and IO judge pressures.
	Memory, CPU, IO Thresholds
	// ReserveMemory and ReserveDisk stay free for the host. Below 125 % of one
	// is Watch, below it is Shrink, below half of it is Critical.
	ReserveMemory, ReserveDisk Reserve
	// Hold is how long pressure must be gone before a state is left for a
	// better one.
	Hold time.Duration
	// Escalate is how long a measure may take effect before the next is added.
	Escalate time.Duration
}

// Thresholds are percentages from which a state applies. Zero: never.
type Thresholds struct {
	// WatchSome and ShrinkSome judge Pressure.Some.
	WatchSome, ShrinkSome float64
	// ShrinkFull and CriticalFull judge Pressure.Full.
	ShrinkFull, CriticalFull float64
}

// Default are thresholds for a machine that runs little else.
//
// Memory stalls matter from the first percent, since a machine that waits for
// memory does no work: some tasks waiting 5 % of the time is worth watching,
// 20 % (or all of them 5 %) is too much, all of them 20 % is thrashing. Waiting
// for a processor is normal on a busy machine, so only a queue nearly all of
// the time counts, and it is never critical. Waiting for a disk lies between.
func Default() Config {
	return Config{
		Memory:        Thresholds{WatchSome: 5, ShrinkSome: 20, ShrinkFull: 5, CriticalFull: 20},
		CPU:           Thresholds{WatchSome: 70, ShrinkSome: 90},
		IO:            Thresholds{WatchSome: 40, ShrinkSome: 70, ShrinkFull: 40},
		ReserveMemory: Reserve{Bytes: 8 << 30, Percent: 15, AtMostPercent: 25},
		ReserveDisk:   Reserve{Bytes: 20 << 30, Percent: 10, AtMostPercent: 25},
		Hold:          2 * time.Second,
		Escalate:      500 * time.Millisecond,
	}
}

// Reserve is an amount that stays free: the larger of Bytes and Percent of the
// total, but never more than AtMostPercent of it. The bound keeps small
// machines usable: 8 GiB is the right reserve for a server and twice of what a
// 4 GiB machine has. With the defaults it binds below 32 GiB of memory (a 4 GiB
// machine reserves 1 GiB) and below 80 GiB of disk.
type Reserve struct {
	Bytes         int64
	Percent       int64
	AtMostPercent int64
}

// Of returns the reserve of a total, in bytes.
func (r Reserve) Of(total int64) int64 {
	percent := total / 100 // of large totals first, so that nothing overflows.
	return min(max(r.Bytes, percent*r.Percent), percent*r.AtMostPercent)
}

// judge returns Nominal, Watch, Shrink or Critical.
func (t Thresholds) judge(p Pressure) State {
	reached := func(value, threshold float64) bool { return threshold > 0 && value >= threshold }
	switch {
	case reached(p.Full, t.CriticalFull):
		return Critical
	case reached(p.Full, t.ShrinkFull), reached(p.Some, t.ShrinkSome):
		return Shrink
	case reached(p.Some, t.WatchSome):
		return Watch
	}
	return Nominal
}

func (r Reserve) judge(free, total int64) State {
	reserve := r.Of(total)
	switch {
	case total <= 0:
		return Nominal
	case free < reserve/2:
		return Critical
	case free < reserve:
		return Shrink
	case free < reserve+reserve/4:
		return Watch
	}
	return Nominal
}

// judge returns the worst of all, and how many measures may be taken for it.
func (c Config) judge(s Sample) (worst State, reach int) {
	space := max(c.Memory.judge(s.Memory), c.ReserveMemory.judge(s.MemoryAvailable, s.MemoryTotal), c.ReserveDisk.judge(s.DiskFree, s.DiskTotal))
	load := max(c.CPU.judge(s.CPU), c.IO.judge(s.IO))
	if space >= Shrink {
		return max(space, load), len(shrinkOrder)
	}
	return max(space, load), loadReach
}

package autoscale

import (
	"math"
	"slices"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// Spare returns what is left of memory and disk after the reserves; negative
// where a reserve is touched. Unknown resources are unlimited.
func (c Config) Spare(s Sample) capacity.Budget {
	left := func(r Reserve, free, total int64) int64 {
		if total <= 0 {
			return math.MaxInt64 / 2
		}
		return free - r.Of(total)
	}
	return capacity.Budget{
		CPUs:        math.MaxInt64 / 2,
		MemoryBytes: left(c.ReserveMemory, s.MemoryAvailable, s.MemoryTotal),
		DiskBytes:   left(c.ReserveDisk, s.DiskFree, s.DiskTotal),
		Sandboxes:   math.MaxInt64 / 2,
	}
}

// WarmTarget is min(configured, what fits into free). What an entry does not
// use does not limit it. It is never negative.
func WarmTarget(configured int, free, perEntry capacity.Budget) int {
	target := int64(configured)
	for _, r := range pairs(free, perEntry) {
		if r[1] > 0 {
			target = min(target, r[0]/r[1])
		}
	}
	return int(max(target, 0))
}

func pairs(a, b capacity.Budget) [4][2]int64 {
	return [4][2]int64{{a.CPUs, b.CPUs}, {a.MemoryBytes, b.MemoryBytes}, {a.DiskBytes, b.DiskBytes}, {a.Sandboxes, b.Sandboxes}}
}

// Warm is the pool as Limits must know it.
type Warm struct {
	// Configured is the most ready entries the operator wants.
	Configured int
	// Ready and Prepared are what it has, see warmpool.Pool.Depth. An entry that
	// waits to be retired is not one, but its memory is in use.
	Ready, Prepared int
	// PerEntry is what a ready entry really uses of the machine.
	PerEntry capacity.Budget
	// InFlight is how many launches and raises this machine does at a time.
	InFlight int
}

// Limits turns decisions into what the warm pool may do. The pool grows into
// what spare leaves. It is cut only where EvictWarm (ready) or DestroyPrepared
// says so: to what fits, and by a quarter in any case, as a machine can stall
// with memory free; to nothing where new work is refused, too. So call it once
// for each Step, and keep the limits until the next.
func Limits(decisions []Decision, spare capacity.Budget, w Warm) warmpool.Limits {
	has := func(d Decision) bool { return slices.Contains(decisions, d) }
	cut := func(n int) int {
		if has(RefuseNewWork) {
			return 0
		}
		return n - (n+3)/4
	}
	// What the entries hold is theirs to keep, so it counts as free for them.
	spare.MemoryBytes += w.PerEntry.MemoryBytes * int64(w.Ready)
	spare.DiskBytes += w.PerEntry.DiskBytes * int64(w.Ready)
	lim := warmpool.Limits{Ready: WarmTarget(w.Configured, spare, w.PerEntry), Prepared: math.MaxInt, InFlight: w.InFlight}
	if has(EvictWarm) {
		lim.Ready = min(lim.Ready, cut(w.Ready))
	} else {
		lim.Ready = max(lim.Ready, min(w.Ready, w.Configured))
	}
	if has(DestroyPrepared) {
		lim.Prepared = cut(w.Prepared)
	}
	switch {
	case has(StartWarm):
		lim.Refill = warmpool.RefillAll
	case has(RefillHot):
		lim.Refill = warmpool.RefillReady
	case has(ResumeSnapshot):
		lim.Refill = warmpool.RefillRaise
	}
	return lim
}

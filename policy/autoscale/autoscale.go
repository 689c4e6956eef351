// Package autoscale decides what a machine under pressure gives up, and when it
// may fill its warm pool again. It is pure policy: it is given samples and the
// time, and returns decisions. It may import the standard library and other
// policy packages; runtime, the daemon and the simulation use it.
//
// States, by the worst of memory, disk, processor and I/O:
//
//	Nominal --> Watch --> Shrink --> Critical      at once, as soon as a sample says so
//	Nominal <-- Watch <-- Shrink <-- Critical      after Hold without it, seen with a margin
//	Nominal <-- Recovery <--+                      from Shrink or Critical to calm
package autoscale

// State is how the machine is doing.
type State int

// The states.
const (
	// Nominal: there is room, the pool is filled.
	Nominal State = iota
	// Watch: room gets scarce; nothing is launched ahead of need, nothing is
	// taken away.
	Watch
	// Shrink: a reserve is touched; measures are taken one after another.
	Shrink
	// Critical: half of a reserve is gone, or the machine stalls; all measures
	// are taken at once.
	Critical
	// Recovery: pressure is gone for Hold; the ready entries come back first.
	Recovery
)

func (s State) String() string {
	if s < Nominal || s > Recovery {
		return "unknown"
	}
	return [...]string{"nominal", "watch", "shrink", "critical", "recovery"}[s]
}

// Decision is something to do or to keep to until the next Step. There is none
// that ends active work: a machine without room refuses new work instead.
type Decision string

const (
	// Hold: take nothing (more) away.
	Hold Decision = "hold"
	// RefillHot: launch ready entries up to their target.
	RefillHot Decision = "refill_hot"
	// ResumeSnapshot: raise prepared entries to ready ones.
	ResumeSnapshot Decision = "resume_snapshot"
	// StartWarm: launch prepared entries up to their target.
	StartWarm Decision = "start_warm"

	// StopRefill: launch and raise nothing ahead of need.
	StopRefill Decision = "stop_refill"
	// StopSidecars: stop helper processes of idle sandboxes.
	StopSidecars Decision = "stop_sidecars"
	// EvictWarm: retire ready entries of the pool, see Limits.
	EvictWarm Decision = "evict_warm"
	// TrimIdleDisk: give freed blocks of idle disks back to the host.
	TrimIdleDisk Decision = "trim_idle_disk"
	// SuspendIdle: page idle sandboxes out to the host's swap.
	SuspendIdle Decision = "suspend_idle"
	// DestroyPrepared: retire prepared entries of the pool, the oldest first.
	DestroyPrepared Decision = "destroy_prepared"
	// RefuseNewWork: admit nothing.
	RefuseNewWork Decision = "refuse_new_work"
)

// shrinkOrder is the order in which measures are taken: the unnoticed
// first, what a user notices last.
var shrinkOrder = [...]Decision{StopRefill, StopSidecars, EvictWarm, TrimIdleDisk, SuspendIdle, DestroyPrepared, RefuseNewWork}

// loadReach is how far down the order processor and I/O pressure alone may go:
// idle entries use neither, so retiring them would cost and not help, and busy
// machines queue work instead of refusing it.
const loadReach = 2

// lasting are the measures that are kept while pressure is gone and the hold
// time runs; the others are acts, and are not repeated.
func (d Decision) lasting() bool {
	return d == StopRefill || d == StopSidecars || d == RefuseNewWork
}

// Pressure is a line pair of a Linux pressure stall file: the share of the last
// ten seconds, in percent, in which some or all tasks waited.
type Pressure struct{ Some, Full float64 }

// Sample is the machine at one moment. A resource whose total is zero is
// unknown and not judged; pressures that cannot be read stay zero.
type Sample struct {
	CPU, Memory, IO Pressure
	// MemoryAvailable is what can be used without swapping; all are bytes.
	MemoryAvailable, MemoryTotal int64
	DiskFree, DiskTotal          int64
}

// worse returns the sample as it would be if things were a little worse:
// pressures a quarter higher, a tenth less free. Pressure counts as gone only
// if it is gone in this one too, so that a value at a threshold does not flap.
func (s Sample) worse() Sample {
	for _, p := range []*Pressure{&s.CPU, &s.Memory, &s.IO} {
		p.Some *= 1.25
		p.Full *= 1.25
	}
	s.MemoryAvailable -= s.MemoryAvailable / 10
	s.DiskFree -= s.DiskFree / 10
	return s
}

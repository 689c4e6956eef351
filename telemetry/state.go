package telemetry

import (
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// State is what the node is at, and has counted since it started. A part that is
// nil is not known, and not shown. Its strings may come from guests: they are
// mapped to a few known ones before they become labels.
type State struct {
	// Sandboxes are those that are not killed, by state.
	Sandboxes map[sandbox.State]int
	Capacity  *Capacity
	Queue     *Queue
	// WarmPools by a name of their key. The first poolLabels in order are shown
	// by name, the others together as "other".
	WarmPools map[string]WarmPool
	// Kills are sandboxes that ended, by the reason or by its class: see
	// ReasonClass.
	Kills    map[string]uint64
	Recovery *Recovery
	Pressure *Pressure
	PagedOut *PagedOut
	// Lacking says, for each resource that the daemon needs for its own work,
	// whether it is short of it.
	Lacking map[string]bool
	// NetworkRepairs counts, for each part of the network that other programs can
	// take away, how often it was lost and repaired.
	NetworkRepairs map[string]uint64
	// RefusedPackets counts packets of sandboxes that the network refused, as far as it saw them.
	RefusedPackets uint64
	// Snapshots by kind: "snapshot", "pause", "filesystem_pause", "continuation",
	// "fork".
	Snapshots map[string]Snapshots
}

// Capacity is what the node can reserve, and has.
type Capacity struct {
	CPUs        Usage // processors, overcommitted
	MemoryBytes Usage
	DiskBytes   Usage
	Sandboxes   Usage
	Launches    Usage // machines that are being made at this moment
}

// Usage is how much of a resource is reserved. Limit is what may be reserved at
// present: Total, or less under pressure. Infinite is without a bound.
type Usage struct{ Active, Warm, Limit, Total float64 }

// Queue is of the creates that wait for capacity.
type Queue struct {
	Pending int
	// Admitted at once or after a wait; Yielded are warm sandboxes that had
	// to make room.
	Admitted, Yielded uint64
	// Refused by kind: "oversized", "queue_full", "deadline", "pressure",
	// "disk", "canceled".
	Refused map[string]uint64
}

// WarmPool is the pool of one key.
type WarmPool struct {
	// Ready can be checked out, and Target of them should be; Prepared is created
	// ahead, but not restored; InFlight is on its way to either.
	Ready, Prepared, Target, InFlight int
	// Hits and Misses are creates; Failures those of what the pool made itself.
	Hits, Misses, Failures uint64
	// OldestAge of what is ready.
	OldestAge time.Duration
	// Refills that succeeded, and how long they took together.
	Refills     uint64
	RefillTotal time.Duration
}

// Recovery is what was found and not in order.
type Recovery struct {
	// Stuck sandboxes are past the deadline of a transitional state now.
	Stuck int
	// Silent sandboxes run and gave no sign of life when last asked.
	Silent int
	// Unrecovered is what the start found and could not make whole yet.
	Unrecovered int
	// SetAside by kind: "snapshot", "machine", and "sandbox" for one that is
	// quarantined.
	SetAside map[string]int
	// Reconciled by action: "recover", "cleanup", "quarantine", "preserve"; and
	// "failed" for actions that failed at first.
	Reconciled map[string]uint64
}

// Pressure is how the host is doing.
type Pressure struct {
	// State is one of "nominal", "watch", "shrink", "critical", "recovery", and
	// Entered how often each was entered.
	State   string
	Entered map[string]uint64
	// Refusing: no new work is taken.
	Refusing bool
}

// PagedOut are the idle sandboxes whose memory is in the host's swap.
type PagedOut struct {
	// Sandboxes are those at this moment, and Bytes the memory that it freed.
	Sandboxes int
	Bytes     int64
	// Outs counts the page-outs, and WakeUps how often such a sandbox was used again.
	Outs, WakeUps uint64
}

// Snapshots are those of a kind that are kept.
type Snapshots struct {
	Count int
	Bytes int64
}

package telemetry

import "time"

// State is what the node is at, and has counted since it started. A part that is
// nil is not known, and not shown. Its strings may come from guests: they are
// mapped to a few known ones before they become labels.
type State struct {
	// Sandboxes are those that are not killed, by state.
	Sandboxes map[string]int
	Capacity  *Capacity
	Queue     *Queue
	// WarmPools by a name of their key. The first poolLabels in order are shown
	// by name, the others together as "other".
	WarmPools map[string]WarmPool
	// Kills are sandboxes that ended, by the reason or by its class: see
	// ReasonClass.
	Kills     map[string]uint64
	Recovery  *Recovery
	Snapshots *Snapshots
}

// Capacity is what the node can reserve, and has.
type Capacity struct {
	CPUs        Usage // processors, overcommitted
	MemoryBytes Usage
	DiskBytes   Usage
	Sandboxes   Usage
}

// Usage is how much of a resource is reserved, for active work and for the warm
// pool.
type Usage struct{ Used, Total float64 }

// Queue is of the creates that wait for capacity.
type Queue struct {
	Pending int
	// Refused by kind: "oversized", "queue_full", "deadline", "pressure",
	// "disk", "canceled".
	Refused map[string]uint64
}

// WarmPool is the pool of one key.
type WarmPool struct {
	// Ready can be checked out; Prepared is created ahead, but not restored.
	Ready, Prepared, Target int
	Hits, Misses            uint64
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
	// Reconciled by action: "recover", "cleanup", "quarantine", "preserve".
	Reconciled map[string]uint64
}

// Snapshots are those that are kept.
type Snapshots struct {
	Count int
	Bytes int64
}

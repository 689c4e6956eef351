// Package pressure is the daemon's policy for a host that runs short: which
// thresholds package autoscale has on a node, and what each of its decisions means
// for the node's queue and its warm pool. It is pure policy: samples and the time
// come in, an outcome comes out. It may import the standard library and other
// policy packages; runtime carries its outcomes out, and simulate does so on a
// simulated host.
package pressure

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// Interval is how often a daemon takes a sample of its host.
const Interval = 5 * time.Second

// Config is what the policy must know about a node.
type Config struct {
	// RestoreFloor is how many bytes of disk must be free for a restore.
	RestoreFloor int64
	// Interval is the time between two samples.
	Interval time.Duration
	// Launches is how many machines are made at the same time.
	Launches int
	// EntryMemoryBytes is the memory that a warm machine was promised.
	EntryMemoryBytes int64
}

// Thresholds returns the thresholds for a node. The processor and the disk's
// speed alone never stop new work; memory and disk space do, and not before the
// warm pool was given up for it.
//
// The reserves are less than autoscale's on small machines: a tenth of the
// memory, since the host's own programs are in what is used already, and of the
// disk what a restore needs, since each one checks that as well.
func (c Config) Thresholds() autoscale.Config {
	t := autoscale.Default()
	t.ReserveMemory.AtMostPercent = 10
	t.ReserveDisk = autoscale.Reserve{Bytes: c.RestoreFloor, AtMostPercent: 100}
	// A refill does what a create would otherwise do later, and one at a time: to
	// stop it because processors are busy would only make the creates slower.
	t.CPU = autoscale.Thresholds{}
	// The pressures of the kernel are averages over ten seconds.
	t.Hold = 15 * time.Second
	t.Escalate = c.Interval / 2
	return t
}

// Node is the policy of one node. Make it with New. It is a value: a copy can be
// asked what the next step would be. It is not safe for concurrent use.
type Node struct {
	cfg      Config
	scaler   autoscale.Scaler
	refusing string
}

// New returns the policy of a node that has seen no sample.
func New(cfg Config) Node { return Node{cfg: cfg, scaler: autoscale.New(cfg.Thresholds())} }

// Thresholds returns the thresholds that are in force.
func (n *Node) Thresholds() autoscale.Config { return n.scaler.Config }

// Outcome is what a step decided. It is in force until the next step.
type Outcome struct {
	// Was and State are the states before and after the step.
	Was, State autoscale.State
	// Decisions are in order.
	Decisions []autoscale.Decision
	// Refusing is why no new work is taken, empty if it is. It stays what it was at
	// first until new work is taken again.
	Refusing string
	// Changed: Refusing is another than after the last step.
	Changed bool
	// Pool is what the warm pool may do.
	Pool warmpool.Limits
	// PageOut: idle sandboxes are paged out at once.
	PageOut bool
}

// Step takes a sample and returns what follows from it. shortage is why no new
// work should be taken although memory and disk would suffice, or empty; pool is
// what the warm pool has. Nothing that is decided ends active work.
//
// Of the measures, stop_refill, evict_warm and destroy_prepared are in
// Outcome.Pool, suspend_idle is Outcome.PageOut, and refuse_new_work is
// Outcome.Refusing. stop_sidecars has no object here, and trim_idle_disk is not done,
// since no driver has a call for it yet.
func (n *Node) Step(now time.Time, sample autoscale.Sample, shortage string, pool []warmpool.Stats) Outcome {
	out := Outcome{Was: n.scaler.State(), Refusing: shortage}
	out.State, out.Decisions = n.scaler.Step(now, n.attribute(sample))
	if slices.Contains(out.Decisions, autoscale.RefuseNewWork) {
		out.Refusing = n.scarce(sample)
	}
	if out.Refusing != "" && n.refusing != "" {
		out.Refusing = n.refusing // What began it, until it ends.
	}
	out.Changed = out.Refusing != n.refusing
	n.refusing = out.Refusing
	out.PageOut = slices.Contains(out.Decisions, autoscale.SuspendIdle)
	out.Pool = n.limits(out.Decisions, n.scaler.Config.Spare(sample), pool)
	return out
}

func (n *Node) limits(decisions []autoscale.Decision, spare capacity.Budget, pool []warmpool.Stats) warmpool.Limits {
	// An entry may come to use all that it was promised; its disk is sparse.
	warm := autoscale.Warm{InFlight: n.cfg.Launches, PerEntry: capacity.Budget{MemoryBytes: n.cfg.EntryMemoryBytes}}
	for _, s := range pool {
		warm.Configured += s.Target.Ready
		warm.Ready += s.Ready + s.InFlight
		warm.Prepared += s.Prepared
	}
	limits := autoscale.Limits(decisions, spare, warm)
	if limits.Ready >= warm.Configured && !slices.Contains(decisions, autoscale.EvictWarm) {
		limits.Ready = math.MaxInt // There is room for a template that comes next, too.
	}
	return limits
}

// attribute counts the memory stalls of a machine that has memory left as load:
// they are those of sandboxes at their own limits, and to refuse the others
// would not help them.
func (n *Node) attribute(s autoscale.Sample) autoscale.Sample {
	if s.MemoryTotal > 0 && s.MemoryAvailable >= 2*n.scaler.Config.ReserveMemory.Of(s.MemoryTotal) {
		s.IO.Some, s.IO.Full = max(s.IO.Some, s.Memory.Some), max(s.IO.Full, s.Memory.Full)
		s.Memory = autoscale.Pressure{}
	}
	return s
}

// scarce returns what the machine is short of.
func (n *Node) scarce(s autoscale.Sample) string {
	c := n.scaler.Config
	switch memory, disk := c.ReserveMemory.Of(s.MemoryTotal), c.ReserveDisk.Of(s.DiskTotal); {
	case s.MemoryTotal > 0 && s.MemoryAvailable < memory:
		return fmt.Sprintf("%d MiB of memory are available, and %d MiB are kept for the host", s.MemoryAvailable>>20, memory>>20)
	case s.DiskTotal > 0 && s.DiskFree < disk:
		return fmt.Sprintf("%d MiB of disk are free, and %d MiB are kept for the host", s.DiskFree>>20, disk>>20)
	}
	return fmt.Sprintf("%.0f %% of the time work waits for memory", s.Memory.Some)
}

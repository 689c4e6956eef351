package simulate

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// sample is what the daemon would read from /proc and statfs.
func (n *node) sample() autoscale.Sample {
	n.account()
	s := autoscale.Sample{
		CPU:             autoscale.Pressure{Some: n.stalls},
		MemoryAvailable: n.available(), MemoryTotal: memoryTotal,
		DiskFree: n.diskFree(), DiskTotal: diskTotal,
	}
	// A host stalls on memory when the last twentieth of it is in use.
	if short := 1 - float64(s.MemoryAvailable)/(memoryTotal/20); short > 0 {
		s.Memory = autoscale.Pressure{Some: 100 * short, Full: 60 * short}
	}
	return s
}

func (n *node) available() int64 { return max(memoryTotal-memoryHost-n.foreign-n.memory, 0) }

func (n *node) diskFree() int64 { return max(diskTotal-diskHost-n.foreignDisk-n.disk, 0) }

// stepEvery is how often the scaler is asked while it is not nominal.
const stepEvery = 500 * time.Millisecond

// step is one round of the autoscale service.
func (n *node) step() {
	n.ticking = false
	if n.down {
		return
	}
	before := n.scaler.State()
	state, decisions := n.scaler.Step(n.clock(), n.sample())
	if state != before {
		n.figures.StateChanges++
	}
	n.decisions, n.dirty = decisions, true
	n.limits = n.limit()
	has := func(d autoscale.Decision) bool { return slices.Contains(decisions, d) }
	if n.refusing = has(autoscale.RefuseNewWork); n.refusing {
		n.queue.SetRefuse("the host is out of room")
	} else {
		n.queue.SetRefuse("")
	}
	if has(autoscale.TrimIdleDisk) {
		for _, m := range n.live {
			if m.state == running && m.idle {
				n.use(m, m.memory, min(m.disk, diskFresh))
			}
		}
	}
	if has(autoscale.SuspendIdle) {
		n.suspendIdle()
	}
}

// suspendIdle pauses those that have been idle longest, until what leaves
// covers what is missing.
func (n *node) suspendIdle() {
	sample := n.sample()
	for _, m := range n.live {
		if m.state == pausing || m.state == killing {
			sample.MemoryAvailable += m.memory
		}
	}
	for spare := n.policy.scale.Spare(sample); spare.MemoryBytes < 0; {
		var coldest *machine
		for _, m := range n.live {
			if m.state == running && n.policy.victims(m) && (coldest == nil || m.since < coldest.since) {
				coldest = m
			}
		}
		if coldest == nil {
			return
		}
		if !coldest.idle {
			n.figures.ActiveEvictions++
			n.violate("active sandbox %s was evicted", coldest.id)
		}
		n.figures.Suspended++
		spare.MemoryBytes += coldest.memory
		n.pause(coldest)
	}
}

// wake makes the next half second a step of the autoscale service, if that
// would do anything: a step in nominal that stays there is a step nobody sees.
func (n *node) wake() {
	if n.ticking || n.down {
		return
	}
	try := n.scaler
	if state, _ := try.Step(n.clock(), n.sample()); state != autoscale.Nominal || n.scaler.State() != autoscale.Nominal {
		n.ticking = true
		n.after(stepEvery-n.now%stepEvery, tick, nil)
	}
}

// episode is a time in which something else on the host needs room.
type episode struct {
	on, floored, filling bool
	since, cleared       time.Duration
}

func (n *node) pressureOn() {
	if n.over {
		return
	}
	if n.episode.filling { // the pool was not full again before the next one.
		n.figures.toTarget(n.now - n.episode.cleared)
	}
	n.episode = episode{on: true, since: n.now}
	var warm int64
	for _, m := range n.live {
		if m.state == ready || m.state == prepared {
			warm += m.memory
		}
	}
	above := max(n.available()-floorMemory, 0)
	switch {
	case !n.chance(n.cfg.Scenario.Severe):
		// What the pool can give back is enough, with the margin of recovery.
		n.foreign = above + int64(float64(warm)*(0.2+0.3*n.rand.Float64()))
	case n.chance(0.3):
		n.foreignDisk = n.diskFree() - floorDisk*3/4
	default:
		n.foreign = above + floorMemory*2/3
	}
	n.after(n.spread(n.cfg.Scenario.Length, 0.2), pressureOff, nil)
}

func (n *node) pressureOff() {
	if n.episode.on && !n.episode.floored { // it never got there.
		n.figures.toFloor(n.now - n.episode.since)
	}
	n.foreign, n.foreignDisk = 0, 0
	n.episode = episode{filling: n.sick < 0, cleared: n.now}
	if !n.over {
		n.after(n.gap(n.cfg.Scenario.Pressure), pressureOn, nil)
	}
}

// watch keeps the figures of the time since the last event and of the episode.
func (n *node) watch() {
	n.wake()
	if n.over {
		return
	}
	n.figures.observe(n)
	e := &n.episode
	if e.on && !e.floored {
		safe := n.available() >= floorMemory && n.diskFree() >= floorDisk
		// Active work is not ended: with nothing else left, it is as safe as it gets.
		if e.floored = safe || n.now > e.since && n.nothingToGive(); e.floored {
			n.figures.toFloor(n.now - e.since)
		}
	}
	full := n.limits.Refill >= warmpool.RefillReady && n.ready >= min(n.limits.Ready, pooled*target.Ready)
	if e.filling && full && n.now > e.cleared {
		e.filling = false
		n.figures.toTarget(n.now - e.cleared)
	}
}

// nothingToGive reports whether no warm entry and no idle sandbox is left, or on
// its way out.
func (n *node) nothingToGive() bool {
	for _, m := range n.live {
		if m.warm || m.state == pausing || m.state == running && m.idle && n.diskFree() >= floorDisk {
			return false
		}
	}
	return true
}

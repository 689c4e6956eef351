package simulate

import (
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// sample is what the daemon would read from /proc, and statfs some time ago.
func (n *node) sample() autoscale.Sample {
	n.account()
	s := autoscale.Sample{
		CPU:             autoscale.Pressure{Some: n.stalls},
		MemoryAvailable: n.available(), MemoryTotal: memoryTotal,
		DiskTotal: diskTotal,
	}
	s.DiskFree, _ = n.room.FreeBytes("")
	// A host stalls on memory when the last twentieth of it is in use.
	if short := 1 - float64(s.MemoryAvailable)/(memoryTotal/20); short > 0 {
		s.Memory = autoscale.Pressure{Some: 100 * short, Full: 60 * short}
	}
	return s
}

func (n *node) available() int64 { return max(memoryTotal-memoryHost-n.foreign-n.memory, 0) }

func (n *node) diskFree() int64 { return max(diskTotal-diskHost-n.foreignDisk-n.disk, 0) }

// step is one sample of the host and what the daemon does about it. It is taken
// for as long as there is anything to do.
func (n *node) step() {
	if n.down || n.now != n.tickAt {
		return // It was one of a daemon that crashed.
	}
	if !n.over || len(n.live) > 0 && n.now < n.cfg.Duration+time.Hour {
		n.tickLater()
	}
	out := n.pressure.Step(n.clock(), n.policy.see(n.sample()), "", n.pool.Stats(n.clock()))
	if out.State != out.Was {
		n.figures.StateChanges++
	}
	n.state, n.limits, n.dirty = out.State, out.Pool, true
	if out.Changed {
		n.queue.SetRefuse(out.Refusing)
		n.refusing = out.Refusing != ""
	}
}

func (n *node) tickLater() {
	n.tickAt = n.now + pressure.Interval
	n.after(pressure.Interval, tick, nil)
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
	switch deep := n.available() < floorMemory/2 || n.diskFree() < floorDisk/2; {
	case !deep:
		n.deep = 0
	case n.deep == 0:
		n.deep = n.now
	}
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
	full := n.limits.Refill >= warmpool.RefillReady && n.ready >= min(n.limits.Ready, pooled*n.policy.warm.Ready)
	if e.filling && full && n.now > e.cleared {
		e.filling = false
		n.figures.toTarget(n.now - e.cleared)
	}
}

// nothingToGive reports whether no warm entry and no sandbox that is being paused
// is left.
func (n *node) nothingToGive() bool {
	for _, m := range n.live {
		if m.warm || m.state == pausing {
			return false
		}
	}
	return true
}

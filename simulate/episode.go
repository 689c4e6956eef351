package simulate

import (
	"time"

	"github.com/rundlet/rundlet/simulate/world"
)

// episode is a time in which something else on the host needs room.
type episode struct {
	on, floored, filling bool
	since, cleared       time.Duration
}

// pressureOn begins an episode.
func (n *node) pressureOn() {
	if n.Over {
		return
	}
	if n.episode.filling { // the pool was not full again before the next one.
		n.Record.Target(n.Clock.Now() - n.episode.cleared)
	}
	n.episode = episode{on: true, since: n.Clock.Now()}
	above := max(n.Host.AvailableMemory()-n.Host.Reserve.Memory, 0)
	switch {
	case !n.Draw.Happens(n.cfg.Scenario.Severe):
		// What the pool can give back is enough, with the margin of recovery.
		n.Host.Foreign = above + int64(float64(n.Host.IdleMemory())*(0.2+0.3*n.Draw.Float64()))
	case n.Draw.Happens(0.3):
		n.Host.ForeignDisk = n.Host.FreeDisk() - n.Host.Reserve.Disk*3/4
	default:
		n.Host.Foreign = above + n.Host.Reserve.Memory*2/3
	}
	n.Clock.After(n.Draw.Spread(n.cfg.Scenario.Length, 0.2), world.PressureOff, nil)
}

// pressureOff ends the episode.
func (n *node) pressureOff() {
	now := n.Clock.Now()
	if n.episode.on && !n.episode.floored { // it never got there.
		n.Record.Floor(now - n.episode.since)
	}
	n.Host.Foreign, n.Host.ForeignDisk = 0, 0
	n.episode = episode{filling: n.Images.Sick < 0, cleared: now}
	if !n.Over {
		n.Clock.After(n.Draw.Gap(n.cfg.Scenario.Pressure), world.PressureOn, nil)
	}
}

// watchEpisode records when the host is safe in the episode, and when the pool is full
// again after it.
func (n *node) watchEpisode() {
	e, now := &n.episode, n.Clock.Now()
	if e.on && !e.floored {
		// Active work is not ended: with nothing else left, it is as safe as it gets.
		if e.floored = n.Host.Safe() || now > e.since && !n.Host.GivesBack(); e.floored {
			n.Record.Floor(now - e.since)
		}
	}
	if e.filling && now > e.cleared && n.daemon.Full() {
		e.filling = false
		n.Record.Target(now - e.cleared)
	}
}

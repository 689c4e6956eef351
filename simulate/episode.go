package simulate

import "time"

// episode is a time in which something else on the host needs room.
type episode struct {
	on, floored, filling bool
	since, cleared       time.Duration
}

// pressureOn begins an episode.
func (n *node) pressureOn() {
	if n.over {
		return
	}
	if n.episode.filling { // the pool was not full again before the next one.
		n.record.Target(n.clock.Now() - n.episode.cleared)
	}
	n.episode = episode{on: true, since: n.clock.Now()}
	above := max(n.host.availableMemory()-n.host.reserve.memory, 0)
	switch {
	case !n.draw.happens(n.cfg.Scenario.Severe):
		// What the pool can give back is enough, with the margin of recovery.
		n.host.foreign = above + int64(float64(n.host.idleMemory())*(0.2+0.3*n.draw.Float64()))
	case n.draw.happens(0.3):
		n.host.foreignDisk = n.host.freeDisk() - n.host.reserve.disk*3/4
	default:
		n.host.foreign = above + n.host.reserve.memory*2/3
	}
	n.clock.After(n.draw.spread(n.cfg.Scenario.Length, 0.2), pressureOff, nil)
}

// pressureOff ends the episode.
func (n *node) pressureOff() {
	now := n.clock.Now()
	if n.episode.on && !n.episode.floored { // it never got there.
		n.record.Floor(now - n.episode.since)
	}
	n.host.foreign, n.host.foreignDisk = 0, 0
	n.episode = episode{filling: n.images.sick < 0, cleared: now}
	if !n.over {
		n.clock.After(n.draw.gap(n.cfg.Scenario.Pressure), pressureOn, nil)
	}
}

// watchEpisode records when the host is safe in the episode, and when the pool is full
// again after it.
func (n *node) watchEpisode() {
	e, now := &n.episode, n.clock.Now()
	if e.on && !e.floored {
		// Active work is not ended: with nothing else left, it is as safe as it gets.
		if e.floored = n.host.reserved() || now > e.since && !n.host.givesBack(); e.floored {
			n.record.Floor(now - e.since)
		}
	}
	if e.filling && now > e.cleared && n.daemon.full() {
		e.filling = false
		n.record.Target(now - e.cleared)
	}
}

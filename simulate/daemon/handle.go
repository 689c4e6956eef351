package daemon

import (
	"time"

	"github.com/rundlet/rundlet/simulate/world"
)

// Handle lets an event happen to the daemon, or to a machine that it drives. What only
// a daemon can begin is put off while none is there.
func (d *Daemon) Handle(e world.Event, m *world.Machine) {
	switch e {
	case world.Leave, world.PauseNow, world.ResumeNow, world.Finish:
		if d.Down {
			d.Clock.After(time.Second, e, m)
			return
		}
	}
	switch e {
	case world.Landed:
		d.landed(m)
	case world.LandFailed:
		d.landFailed(m)
	case world.Expired:
		d.admission.expire(m)
	case world.Grown:
		d.lifecycle.work(m)
	case world.Leave:
		d.lifecycle.kill(m)
	case world.PauseNow:
		d.lifecycle.pause(m)
	case world.Paused:
		d.lifecycle.suspend(m)
	case world.ResumeNow:
		d.admission.resume(m)
	case world.Killed:
		d.lifecycle.bury(m)
	case world.KillFailed:
		d.lifecycle.killFailed(m)
	case world.Retry:
		d.lifecycle.tryKill(m)
	case world.Tick:
		d.takeSample()
	case world.Rested:
		d.pool.resting = false
	case world.Sweep:
		d.Replan()
	case world.Finish:
		d.finish()
	}
}

// Request is a client asking for a sandbox.
func (d *Daemon) Request(m *world.Machine) {
	if d.Down {
		d.admission.refuse(m)
		return
	}
	d.admission.create(m)
}

// Abandon ends a request that waited when the daemon crashed. A sandbox that was to be
// resumed stays paused.
func (d *Daemon) Abandon(m *world.Machine) { d.admission.lose(m) }

// Rebuilt makes the daemon use the snapshot that a template has now. One that is
// booted later does so anyway.
func (d *Daemon) Rebuilt(template int) {
	if !d.Down {
		d.pool.setSnapshot(template, d.Images.Snapshot(template))
	}
	d.Replan()
}

// Replan makes the pool plan again: it may now get what it could not before.
func (d *Daemon) Replan() { d.pool.changed = true }

// Settle does what the daemon does after each event: it lets warm entries yield,
// starts admitted requests and refills the pool, until nothing changes.
func (d *Daemon) Settle() {
	for again := !d.Down; again; {
		again = d.pool.yield()
		again = d.admission.serveAdmitted() || again
		again = d.pool.refill() || again
	}
}

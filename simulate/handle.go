package simulate

import "time"

// handle lets an event happen to the daemon, or to a machine that it drives. What a
// daemon does of its own accord waits while none is there.
func (d *daemon) handle(e event, m *machine) {
	switch e {
	case leave, pauseNow, resumeNow, finish:
		if d.down {
			d.clock.After(time.Second, e, m)
			return
		}
	}
	switch e {
	case landed:
		d.landed(m)
	case landFailed:
		d.landFailed(m)
	case expired:
		d.admission.expire(m)
	case grown:
		d.lifecycle.work(m)
	case leave:
		d.lifecycle.kill(m)
	case pauseNow:
		d.lifecycle.pause(m)
	case paused:
		d.lifecycle.suspend(m)
	case resumeNow:
		d.admission.resume(m)
	case killed:
		d.lifecycle.bury(m)
	case killFailed:
		d.lifecycle.killFailed(m)
	case retry:
		d.lifecycle.tryKill(m)
	case tick:
		d.takeSample()
	case rested:
		d.pool.resting = false
	case sweep:
		d.replan()
	case finish:
		d.finish()
	}
}

// request is a client asking for a sandbox.
func (d *daemon) request(m *machine) {
	if d.down {
		d.admission.refuse(m)
		return
	}
	d.admission.create(m)
}

// abandon is a request whose daemon crashed while it waited.
func (d *daemon) abandon(m *machine) { d.admission.lose(m) }

// rebuilt makes the daemon use the snapshot that a template has now. One that is
// booted later does so anyway.
func (d *daemon) rebuilt(template int) {
	if !d.down {
		d.pool.setSnapshot(template, d.images.snapshot(template))
	}
	d.replan()
}

// replan makes the pool plan again: it may now get what it could not before.
func (d *daemon) replan() { d.pool.changed = true }

// settle does what the daemon does after each event: it lets warm entries yield,
// starts admitted requests and refills the pool, until nothing changes.
func (d *daemon) settle() {
	for again := !d.down; again; {
		again = d.pool.yield()
		again = d.admission.serveAdmitted() || again
		again = d.pool.refill() || again
	}
}

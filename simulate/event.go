package simulate

import "time"

// kind is what happens; handlers says what it does.
type kind uint8

const (
	arrive kind = iota
	burst
	burstArrival
	landed
	landFailed
	expired
	grown
	leave
	pauseNow
	paused
	resumeNow
	killed
	killFailed
	tick
	pressureOn
	pressureOff
	rebuild
	sicken
	heal
	crash
	restart
	retry
	sweep
	rested
	finish
	kinds
)

// handlers say what each kind of event does.
var handlers [kinds]func(*node, *machine)

func init() { // the handlers refer to what refers to them.
	handlers = [kinds]func(*node, *machine){
		arrive:       func(n *node, _ *machine) { n.arrive() },
		burst:        func(n *node, _ *machine) { n.burst() },
		burstArrival: (*node).request,
		landed:       func(n *node, m *machine) { n.daemon.landed(m) },
		landFailed:   func(n *node, m *machine) { n.daemon.landFailed(m) },
		expired:      func(n *node, m *machine) { n.daemon.admission.expire(m) },
		grown:        func(n *node, m *machine) { n.daemon.lifecycle.work(m) },
		leave:        onceUp(leave, func(d *daemon, m *machine) { d.lifecycle.kill(m) }),
		pauseNow:     onceUp(pauseNow, func(d *daemon, m *machine) { d.lifecycle.pause(m) }),
		paused:       func(n *node, m *machine) { n.daemon.lifecycle.suspend(m) },
		resumeNow:    onceUp(resumeNow, func(d *daemon, m *machine) { d.admission.resume(m) }),
		killed:       func(n *node, m *machine) { n.daemon.lifecycle.bury(m) },
		killFailed:   func(n *node, m *machine) { n.daemon.lifecycle.killFailed(m) },
		tick:         func(n *node, _ *machine) { n.daemon.takeSample() },
		rested:       func(n *node, _ *machine) { n.daemon.pool.resting = false },
		pressureOn:   func(n *node, _ *machine) { n.pressureOn() },
		pressureOff:  func(n *node, _ *machine) { n.pressureOff() },
		rebuild:      func(n *node, _ *machine) { n.rebuild() },
		sicken:       func(n *node, _ *machine) { n.sicken() },
		heal:         func(n *node, _ *machine) { n.heal() },
		crash:        func(n *node, _ *machine) { n.crash() },
		restart:      func(n *node, _ *machine) { n.restart() },
		retry:        func(n *node, m *machine) { n.daemon.lifecycle.tryKill(m) },
		sweep:        func(n *node, _ *machine) { n.daemon.pool.changed = true },
		finish:       onceUp(finish, func(d *daemon, _ *machine) { d.finish() }),
	}
}

// onceUp is a handler of what a daemon does: if none is there, the next one does it.
func onceUp(again kind, do func(*daemon, *machine)) func(*node, *machine) {
	return func(n *node, m *machine) {
		if n.down {
			n.clock.After(time.Second, again, m)
			return
		}
		do(n.daemon, m)
	}
}

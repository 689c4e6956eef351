// Package daemon is the daemon of a simulated node: the decisions are those of the
// policy packages, and the steps between them a copy of what package runtime does, as
// short as it can be. It acts on machines of a simulate/world.
//
// It may import the standard library, sandbox, vm, policy packages, simulate/world and
// simulate/report; simulate boots it, lets events happen to it and checks it.
package daemon

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/world"
)

// Daemon is one process of the daemon. What it knows is lost in a crash: the next one is
// booted, and recovers. While World.Down is set it is one that crashed, and all that it
// does is to refuse requests.
type Daemon struct {
	*world.World
	policy    Policy
	end       time.Duration // of the traffic
	reserved  *reservations
	space     diskSpace
	lifecycle *lifecycle
	pool      *warmPool
	admission *admission

	pressure pressure.Node
	state    autoscale.State // of the last sample
	sampleAt time.Duration   // the next sample of the host
	refusing bool            // no new work is taken
}

// Boot starts a daemon that knows nothing yet. The traffic will go on until end.
func Boot(w *world.World, p Policy, end time.Duration) *Daemon {
	reserved := &reservations{ledger: capacity.NewLedger(p.Capacity()), release: p.Release}
	space := diskSpace{disk.Cached(w.Host, disk.CacheTTL, w.Clock.Time)}
	l := &lifecycle{World: w, policy: p, reserved: reserved, space: space}
	pool := newWarmPool(w, l)
	d := &Daemon{
		World: w, policy: p, end: end, reserved: reserved, space: space, lifecycle: l, pool: pool, admission: newAdmission(w, l, pool),
		pressure: pressure.New(p.Pressure()), state: autoscale.Nominal,
	}
	d.sampleLater()
	return d
}

// diskSpace is what the daemon knows of the free disk: a figure that it keeps for a
// while.
type diskSpace struct{ disk.Probe }

// above reports whether the disk is at or above a floor.
func (s diskSpace) above(floor int64) bool {
	_, err := disk.Guard{MinimumFree: floor}.Check(s)
	return err == nil
}

// landed is the end of a launch.
func (d *Daemon) landed(m *world.Machine) {
	switch m.State {
	case world.Launching:
		d.reserved.launched(m)
		d.pool.landed(m)
	case world.Raising:
		d.pool.landed(m)
	default:
		d.reserved.launched(m)
		d.lifecycle.run(m)
	}
}

// landFailed is the end of a launch that failed.
func (d *Daemon) landFailed(m *world.Machine) {
	if m.Flight != nil {
		d.pool.failed(m)
		return
	}
	d.Record.CreateFailures++
	if m.State == world.Resuming { // Its snapshot is still there.
		d.lifecycle.backToPaused(m)
		return
	}
	d.lifecycle.kill(m)
}

// takeSample is one sample of the host and what the daemon does about it. It is taken
// for as long as there is anything to do.
func (d *Daemon) takeSample() {
	if d.Down || d.Clock.Now() != d.sampleAt {
		return // It was one of a daemon that crashed.
	}
	if !d.Over || len(d.Host.Machines) > 0 && d.Clock.Now() < d.end+time.Hour {
		d.sampleLater()
	}
	out := d.pressure.Step(d.Clock.Time(), d.policy.See(d.sample()), "", d.pool.stats())
	if out.State != out.Was {
		d.Record.StateChanges++
	}
	d.state = out.State
	d.pool.setLimits(out.Pool)
	if out.Changed {
		d.admission.queue.SetRefuse(out.Refusing)
		d.refusing = out.Refusing != ""
	}
}

func (d *Daemon) sampleLater() {
	d.sampleAt = d.Clock.Now() + pressure.Interval
	d.Clock.After(pressure.Interval, world.Tick, nil)
}

// sample is what the daemon reads from /proc, and what it knows of the disk.
func (d *Daemon) sample() autoscale.Sample {
	s := d.Host.Sample()
	s.DiskTotal = world.DiskTotal
	s.DiskFree, _ = d.space.FreeBytes("")
	return s
}

// Utilisation is how much the ready entries use of the resource that runs out first,
// if it counts: while the host is in state nominal.
func (d *Daemon) Utilisation() (percent float64, counts bool) {
	if d.Down || d.state != autoscale.Nominal {
		return 0, false
	}
	u, ready := d.reserved.ledger.Usage(), int64(d.Host.Ready)
	used := capacity.Budget{CPUs: ready * PerSandbox.CPUs, MemoryBytes: ready * PerSandbox.MemoryBytes, DiskBytes: ready * PerSandbox.DiskBytes}
	// The reserves are not part of the ledger's capacity.
	return report.LimitingUtilisation(used, report.SafeSpare(u.Capacity, u.Active, capacity.Budget{})), true
}

// finish ends everything that lives. The traffic is over.
func (d *Daemon) finish() {
	d.Over = true
	d.pool.drain()
	for _, m := range slices.Clone(d.Host.Machines) {
		switch m.State {
		case world.Asking:
			d.admission.expire(m)
			if m.State == world.Suspended {
				d.lifecycle.kill(m)
			}
		case world.Running, world.Suspended:
			d.lifecycle.kill(m)
		}
	}
}

// Ledger is what the daemon has reserved, for a comparison with what it should have.
func (d *Daemon) Ledger() *capacity.Ledger { return d.reserved.ledger }

// Waiting returns how many requests the daemon has in its queue, and how many the queue
// says it has.
func (d *Daemon) Waiting() (requests, pending int) {
	for _, w := range d.admission.waiting {
		requests += len(w)
	}
	return requests, d.admission.queue.Stats().Pending
}

// Entries returns how many machines the daemon takes for entries of the pool, and what
// the pool says about itself.
func (d *Daemon) Entries() (machines int, pool []warmpool.Stats) {
	return len(d.pool.byID), d.pool.stats()
}

// Full reports whether the pool has the ready entries that it may have.
func (d *Daemon) Full() bool { return d.pool.full() }

// Refuses reports whether the daemon takes no new work.
func (d *Daemon) Refuses() bool { return d.refusing }

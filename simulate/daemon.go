package simulate

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/report"
)

// daemon is one process of the daemon: what it knows is lost in a crash, and the next
// one begins with nothing.
type daemon struct {
	*world
	policy    policy
	end       time.Duration // of the traffic
	reserved  *reservations
	space     diskSpace
	lifecycle *lifecycle
	pool      *warmPool
	admission *admission

	pressure pressure.Node
	state    autoscale.State // of the last sample
	sampleAt time.Duration   // the next sample of the host
	refusing bool
}

// boot starts a daemon that knows nothing yet. The traffic will go on until end.
func boot(w *world, p policy, end time.Duration) *daemon {
	reserved := &reservations{ledger: capacity.NewLedger(p.capacity()), release: p.release}
	space := diskSpace{disk.Cached(w.host, disk.CacheTTL, w.clock.Time)}
	l := &lifecycle{world: w, policy: p, reserved: reserved, space: space}
	pool := newWarmPool(w, l)
	d := &daemon{
		world: w, policy: p, end: end, reserved: reserved, space: space, lifecycle: l, pool: pool, admission: newAdmission(w, l, pool),
		pressure: pressure.New(p.pressure()), state: autoscale.Nominal,
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
func (d *daemon) landed(m *machine) {
	switch m.state {
	case launching:
		d.reserved.launched(m)
		d.pool.landed(m)
	case raising:
		d.pool.landed(m)
	default:
		d.reserved.launched(m)
		d.lifecycle.run(m)
	}
}

// landFailed is the end of a launch that failed.
func (d *daemon) landFailed(m *machine) {
	if m.flight != nil {
		d.pool.failed(m)
		return
	}
	d.record.CreateFailures++
	if m.state == resuming { // Its snapshot is still there.
		d.lifecycle.backToPaused(m)
		return
	}
	d.lifecycle.kill(m)
}

// takeSample is one sample of the host and what the daemon does about it. It is taken
// for as long as there is anything to do.
func (d *daemon) takeSample() {
	if d.down || d.clock.Now() != d.sampleAt {
		return // It was one of a daemon that crashed.
	}
	if !d.over || len(d.host.machines) > 0 && d.clock.Now() < d.end+time.Hour {
		d.sampleLater()
	}
	out := d.pressure.Step(d.clock.Time(), d.policy.see(d.sample()), "", d.pool.stats())
	if out.State != out.Was {
		d.record.StateChanges++
	}
	d.state = out.State
	d.pool.setLimits(out.Pool)
	if out.Changed {
		d.admission.queue.SetRefuse(out.Refusing)
		d.refusing = out.Refusing != ""
	}
}

func (d *daemon) sampleLater() {
	d.sampleAt = d.clock.Now() + pressure.Interval
	d.clock.After(pressure.Interval, tick, nil)
}

// sample is what the daemon reads from /proc now, and read of the disk some time ago.
func (d *daemon) sample() autoscale.Sample {
	s := d.host.sample()
	s.DiskTotal = diskTotal
	s.DiskFree, _ = d.space.FreeBytes("")
	return s
}

// utilisation is how much the ready entries use of the resource that runs out first,
// if it counts: while the host is in state nominal.
func (d *daemon) utilisation() (percent float64, counts bool) {
	if d.down || d.state != autoscale.Nominal {
		return 0, false
	}
	u, ready := d.reserved.ledger.Usage(), int64(d.host.ready)
	used := capacity.Budget{CPUs: ready * perSandbox.CPUs, MemoryBytes: ready * perSandbox.MemoryBytes, DiskBytes: ready * perSandbox.DiskBytes}
	// The reserves are not part of the ledger's capacity.
	return report.LimitingUtilisation(used, report.SafeSpare(u.Capacity, u.Active, capacity.Budget{})), true
}

// finish ends everything that lives. The traffic is over.
func (d *daemon) finish() {
	d.over = true
	d.pool.drain()
	for _, m := range slices.Clone(d.host.machines) {
		switch m.state {
		case asking:
			d.admission.expire(m)
			if m.state == suspended {
				d.lifecycle.kill(m)
			}
		case running, suspended:
			d.lifecycle.kill(m)
		}
	}
}

// ledger is what the daemon has reserved, for a comparison with what it should have.
func (d *daemon) ledger() *capacity.Ledger { return d.reserved.ledger }

// waiting returns how many requests the daemon has in its queue, and how many the queue
// says it has.
func (d *daemon) waiting() (requests, pending int) {
	for _, w := range d.admission.waiting {
		requests += len(w)
	}
	return requests, d.admission.queue.Stats().Pending
}

// entries returns how many machines the daemon takes for entries of the pool, and what
// the pool says about itself.
func (d *daemon) entries() (machines int, pool []warmpool.Stats) {
	return len(d.pool.byID), d.pool.stats()
}

// full reports whether the pool has the ready entries that it may have.
func (d *daemon) full() bool { return d.pool.full() }

// refuses reports whether the daemon takes no new work.
func (d *daemon) refuses() bool { return d.refusing }

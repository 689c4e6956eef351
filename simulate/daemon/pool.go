package daemon

import (
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/world"
)

// warmPool is the daemon's warm pool, and the machines that are in it or on their way
// to it.
type warmPool struct {
	*world.World
	policy    Policy
	lifecycle *lifecycle
	reserved  *reservations
	space     diskSpace

	entries *warmpool.Pool
	byID    map[string]*world.Machine
	limits  warmpool.Limits
	yields  []string  // those that the queue wants the place of
	taken   time.Time // the last checkout; zero if there was none
	resting bool      // a refill comes when the cooldown is over
	changed bool      // it should be planned again
}

func newWarmPool(w *world.World, l *lifecycle) *warmPool {
	p := &warmPool{
		World: w, policy: l.policy, lifecycle: l, reserved: l.reserved, space: l.space,
		entries: &warmpool.Pool{}, byID: map[string]*world.Machine{}, limits: warmpool.Unlimited, changed: true,
	}
	for i := range world.Pooled {
		p.entries.SetSnapshot(world.Keys[i], w.Images.Snapshot(i))
		p.entries.SetTarget(world.Keys[i], l.policy.Warm)
	}
	return p
}

// setLimits sets what the pool may do from now on.
func (p *warmPool) setLimits(l warmpool.Limits) { p.limits, p.changed = l, true }

// setSnapshot makes the entries of a template stale.
func (p *warmPool) setSnapshot(template int, snapshot string) {
	p.entries.SetSnapshot(world.Keys[template], snapshot)
	p.changed = true
}

// drain ends all entries and makes no more.
func (p *warmPool) drain() {
	for i := range world.Pooled {
		p.entries.SetTarget(world.Keys[i], warmpool.Target{})
	}
	p.changed = true
}

// yield ends the warm entries that active work needs the place of. One that is
// still being made is ended when it is done.
func (p *warmPool) yield() bool {
	again := len(p.yields) > 0
	for len(p.yields) > 0 {
		id := p.yields[0]
		p.yields = p.yields[1:]
		if _, ok := p.entries.Remove(id); ok {
			p.Record.Yielded++
			p.end(p.byID[id])
		}
	}
	return again
}

// end kills a machine of the pool that the pool has let go.
func (p *warmPool) end(m *world.Machine) {
	delete(p.byID, m.ID)
	m.Flight = nil
	p.changed = true
	if m.Owned {
		p.Record.ActiveEvictions++
		p.Record.Violate("active sandbox %s was ended as a warm entry", m.ID)
	}
	p.lifecycle.kill(m)
}

// refill does once what the pool needs.
func (p *warmPool) refill() (again bool) {
	if !p.changed && !p.reserved.freed {
		return false
	}
	now := p.Clock.Time()
	ready, _ := p.entries.Depth(now)
	if rest := warmpool.Rest(now, p.taken, ready); rest > 0 {
		if !p.resting {
			p.resting = true
			p.Clock.After(rest, world.Rested, nil)
		}
		return false
	}
	p.changed, p.reserved.freed = false, false
	for _, a := range p.entries.Plan(now, p.limits.Refilling(world.Processors, p.space.above(p.policy.Floors.WarmPool))) {
		if f, ok := p.entries.Begin(a, now); ok {
			p.carryOut(a, f)
			again = true
		}
	}
	return again
}

// carryOut does what the plan of the pool asks for.
func (p *warmPool) carryOut(a warmpool.Action, f *warmpool.Flight) {
	m := p.byID[a.ID]
	switch {
	case a.Op == warmpool.Launch:
		p.launch(f)
	case m == nil:
		f.Cancel()
		p.Record.Violate("the pool has %s, which has left it", a.ID)
	case a.Op == warmpool.Raise:
		m.Flight = f
		p.Host.Enter(m, world.Raising)
		p.lifecycle.grow(m, memoryReady, m.Disk)
		p.lifecycle.launch(m, costStart)
	default:
		p.Record.Retired++
		p.end(m)
	}
}

// launch reserves before it launches.
func (p *warmPool) launch(f *warmpool.Flight) {
	m := p.Host.Create(-1, slices.Index(world.Keys[:], f.Action.Key))
	if err := p.reserved.warm(m); err != nil {
		f.Cancel()
		return
	}
	m.Flight = f
	p.byID[m.ID] = m
	p.Host.Enter(m, world.Launching)
	if f.Action.Stage == warmpool.Prepared {
		p.lifecycle.grow(m, memoryPrepared, diskFresh)
		p.lifecycle.launch(m, costRestore-costStart)
		return
	}
	p.lifecycle.grow(m, memoryReady, diskFresh)
	p.lifecycle.launch(m, costRestore)
}

// landed puts a launched or raised entry into the pool.
func (p *warmPool) landed(m *world.Machine) {
	f := m.Flight
	m.Flight = nil
	p.changed = true
	if err := f.Done(m.ID, p.Clock.Time()); err != nil {
		p.Record.Violate("%v", err)
		p.end(m)
		return
	}
	if f.Action.Stage == warmpool.Ready {
		p.Host.Enter(m, world.Ready)
	} else {
		p.Host.Enter(m, world.Prepared)
	}
	if m.Reservation.Yielding() { // It was asked to yield while it was created.
		p.yields = append(p.yields, m.ID)
	}
}

// failed ends a flight and its machine.
func (p *warmPool) failed(m *world.Machine) {
	p.Record.LaunchFailures++
	now := p.Clock.Time()
	m.Flight.Fail(now)
	for _, s := range p.entries.Stats(now) {
		if s.Key == m.Flight.Action.Key {
			p.Clock.After(s.RetryAt.Sub(now), world.Sweep, nil)
		}
	}
	p.end(m)
}

// handOut lets a machine of the pool go to a tenant. It reports whether it could be
// had: one that yields is ended instead.
func (p *warmPool) handOut(m *world.Machine) bool {
	p.changed = true
	if err := p.reserved.promote(m); err != nil {
		p.end(m)
		return false
	}
	delete(p.byID, m.ID)
	p.taken = p.Clock.Time()
	return true
}

func (p *warmPool) stats() []warmpool.Stats { return p.entries.Stats(p.Clock.Time()) }

// full reports whether the pool has the ready entries that it may have.
func (p *warmPool) full() bool {
	return p.limits.Refill >= warmpool.RefillReady && p.Host.Ready >= min(p.limits.Ready, world.Pooled*p.policy.Warm.Ready)
}

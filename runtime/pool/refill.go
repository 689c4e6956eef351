package pool

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Machine is a warm machine.
type Machine struct {
	ID     string
	Origin claim.Origin
	// Ready: it runs and has answered; otherwise it is prepared.
	Ready bool
	// Reservation is its capacity, which its owner releases when it is gone.
	Reservation *capacity.Reservation

	key  warmpool.Key
	slot string // guarded by the pool's mu while the pool has the machine
}

// Given is the origin of what its agent is given next. That of one which is ready has its own token already, and keeps the environment
// of its template.
func (m *Machine) Given() claim.Origin {
	from := m.Origin
	if m.Ready && from.Holder != "" {
		from.Holder, from.HolderToken = m.ID, ""
	}
	return from
}

// Slot is the network slot of a machine that was checked out.
func (m *Machine) Slot() string { return m.slot }

func (m *Machine) guest() machine.Guest {
	return machine.Guest{ID: m.ID, TemplateID: m.Origin.TemplateID, Secure: true, Egress: egress.Everything}
}

// Maintain refills the pool until the daemon closes.
func (p *Pool) Maintain() {
	for {
		p.Refill(time.Now())
		select {
		case <-p.life.Done():
			return
		case <-p.kick:
		case <-time.After(warmpool.RefillInterval):
		}
		for pause := p.cooldown(); pause > 0; pause = p.cooldown() {
			select {
			case <-p.life.Done():
				return
			case <-p.kick: // It may be empty now.
			case <-time.After(pause):
			}
		}
	}
}

// cooldown is how long a refill has to wait yet.
func (p *Pool) cooldown() time.Duration {
	now := time.Now()
	ready, _ := p.books.Depth(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	return warmpool.Rest(now, p.taken, ready)
}

// Refill begins the actions that the pool needs now, and returns their number; they
// end in the background. A failed action is retried later, and delays no other.
func (p *Pool) Refill(now time.Time) (begun int) {
	if len(p.books.Stats(now)) == 0 {
		return 0 // Nothing is to be kept, and nothing is there.
	}
	limits := p.Limits().Refilling(p.cfg.Launches, p.checkDisk())
	for _, action := range p.books.Plan(now, limits) {
		flight, ok := p.books.Begin(action, now)
		if !ok {
			continue // It was handed out in the meantime.
		}
		begun++
		if !p.cfg.Background.Go(func() { p.carry(flight) }) {
			flight.Cancel()
		}
	}
	return begun
}

// checkDisk reports whether the disk is at or above the floor of the pool, and
// logs once when it is not any more.
func (p *Pool) checkDisk() bool {
	err := p.cfg.Admission.CheckPool()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && !p.short {
		p.cfg.Log.Warn("no capacity to refill the warm pool", "error", err)
	}
	p.short = err != nil
	return err == nil
}

// carry executes a planned action. The order of a launch is: reserve, launch, probe,
// retain; on a failure the machine is ended and its capacity released.
func (p *Pool) carry(flight *warmpool.Flight) {
	if flight.Action.Op == warmpool.Retire {
		p.Discard(p.find(flight.Entry.ID))
		_ = flight.Done(flight.Entry.ID, time.Now())
		p.Wake()
		return
	}
	m, err := p.warmUp(flight)
	switch {
	case err == nil:
		// Once it is in the pool it is another's, who may end it at once.
		id, reservation := m.ID, m.Reservation
		if err := flight.Done(id, time.Now()); err != nil {
			p.cfg.Log.Error("unexpected warm machine", "machine_id", id, "error", err)
			p.Discard(m)
		} else if _ = p.cfg.Steps.At(step.WarmRetained); reservation.Yielding() {
			p.Yield(id) // It was asked to yield before it was in the pool.
		}
		p.Wake()
	case m == nil:
		flight.Cancel() // There is no capacity for it; a release wakes the pool.
	default:
		if p.life.Err() == nil {
			p.cfg.Log.Warn("could not create warm machine", "template", m.Origin.Alias, "error", err)
		}
		flight.Fail(time.Now())
		p.cfg.Unusable(m.Origin, err)
		p.Discard(m)
	}
}

// warmUp makes a machine, or starts one that is prepared. It returns no machine
// if there is no capacity for it.
func (p *Pool) warmUp(flight *warmpool.Flight) (*Machine, error) {
	ctx, cancel := context.WithTimeout(p.life, makeTimeout)
	defer cancel()
	m := p.find(flight.Entry.ID)
	if m == nil {
		var err error
		if m, err = p.reserve(flight); err != nil {
			return nil, err
		}
		if err := p.cfg.Machines.Mark(m.ID); err != nil {
			return m, err
		}
		running := flight.Action.Stage == warmpool.Ready
		if err := p.cfg.Machines.Restore(ctx, m.guest(), machine.Launch{Origin: m.Origin}, running, func(slot string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			m.slot = slot
		}); err != nil {
			return m, err
		}
	} else if err := p.cfg.Machines.Start(ctx, m.ID, m.Origin); err != nil {
		return m, err
	}
	if flight.Action.Stage == warmpool.Ready {
		if err := p.cfg.Machines.Deliver(ctx, m.guest(), machine.Launch{Origin: m.Origin}); err != nil {
			return m, err
		}
		if err := p.cfg.Machines.Exercise(ctx, m.ID); err != nil {
			return m, err
		}
		m.Ready = true
	}
	m.Reservation.Launched()
	if waiter, ok := p.cfg.Driver.(vm.Waiter); ok {
		p.cfg.Background.Go(func() {
			_, err := waiter.Wait(p.life, m.ID)
			if p.life.Err() == nil && !errors.Is(err, vm.ErrNotFound) {
				p.Yield(m.ID) // Nothing, if it was handed over.
			}
		})
	}
	return m, nil
}

// reserve reserves capacity for the machine of a flight.
func (p *Pool) reserve(flight *warmpool.Flight) (*Machine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := flight.Action.Key
	from, ok := p.origins[key]
	if !ok {
		return nil, errors.New("the template is gone")
	}
	if snapshotOf(from) != flight.Snapshot { // The books would have the machine for one of another build.
		return nil, errors.New("the template was built again")
	}
	m := &Machine{ID: sandbox.NewID(), Origin: from, key: key}
	reservation, err := p.cfg.Admission.Ledger.ReserveWarm(capacity.WarmEntry{
		ID: m.ID, Key: capacity.WarmKey(key), Budget: capacity.Sandbox(from.Size.VCPUs, from.Size.MemoryMiB, from.Size.DiskMiB),
	})
	if err != nil {
		return nil, err
	}
	m.Reservation = reservation
	p.machines[m.ID] = m
	return m, nil
}

// Yield ends a warm machine whose capacity active work needs, or that died. One
// that is being handed over or made is ended by that call.
func (p *Pool) Yield(id string) {
	if _, ok := p.books.Remove(id); !ok {
		return
	}
	m := p.find(id)
	p.cfg.Background.Go(func() {
		p.Discard(m)
		p.Wake()
	})
}

// Discard ends a machine that the pool does not have any more. It retries until
// the machine is gone or the daemon closes.
func (p *Pool) Discard(m *Machine) {
	// When the daemon ends first, Drain tries once more; the next start ends machines that have a mark.
	_ = retries.Do(p.life, func() error { return p.end(m) }, func(err error, pause time.Duration) {
		p.cfg.Log.Warn("could not destroy warm machine yet", "machine_id", m.ID, "error", err, "retry_in", pause)
	})
}

func (p *Pool) end(m *Machine) error {
	ctx, cancel := background.Detached(p.life)
	defer cancel()
	if err := p.cfg.Machines.Destroy(ctx, m.ID); err != nil {
		return err
	}
	p.mu.Lock()
	slot := m.slot
	p.mu.Unlock()
	if slot != "" {
		if err := p.cfg.Machines.Release(ctx, slot); err != nil {
			return err
		}
		p.mu.Lock()
		m.slot = ""
		p.mu.Unlock()
	}
	if m.Reservation != nil {
		m.Reservation.Release()
		m.Reservation = nil
	}
	p.forget(m.ID)
	return p.cfg.Machines.Unmark(m.ID)
}

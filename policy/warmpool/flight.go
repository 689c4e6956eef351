package warmpool

import (
	"fmt"
	"time"
)

// Back-off of a key after a failed launch: doubled with each failure in a row.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// Flight is an action that was begun. Its owner ends it with exactly one of
// Done, Fail and Cancel, from any goroutine; the first call counts.
type Flight struct {
	// Action is what was begun.
	Action Action
	// Snapshot is what to restore from.
	Snapshot string
	// Entry is the machine of a Raise or Retire. The owner of the flight owns it
	// now, also when the flight fails.
	Entry Entry

	pool  *Pool
	begun time.Time
	ended bool
}

// Begin claims a planned action. It returns false when the entry has been
// handed out in the meantime, or the key has lost its snapshot: leave it then.
// A Launch or Raise counts as on its way until the flight ends, so that no plan
// launches twice what is coming.
func (p *Pool) Begin(a Action, now time.Time) (*Flight, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &Flight{Action: a, pool: p, begun: now}
	if a.Op != Launch {
		e, ok := p.remove(a.ID)
		if !ok {
			return nil, false
		}
		f.Entry, f.Snapshot, f.Action.Key = e, e.Snapshot, e.Key
	}
	if a.Op == Retire {
		return f, true
	}
	s := p.keys[f.Action.Key]
	if a.Op == Launch {
		if s == nil || s.snapshot == "" {
			return nil, false
		}
		f.Snapshot = s.snapshot
	}
	s.landing[a.Stage]++
	s.begunAt = now
	p.flights++
	return f, true
}

// Done says that a Launch or Raise succeeded (the machine was probed, where its
// stage is Ready) and gives the machine to the pool; for a Retire, that it is
// gone. It fails with ErrExists, or with ErrEnded after Fail or Cancel, and the
// machine stays the caller's. An entry that became stale on the way is taken and
// retired by the next plan.
func (f *Flight) Done(id string, now time.Time) error {
	return f.end(func(s *shelf) error {
		s.failures, s.notBefore = 0, time.Time{}
		s.counters.Refills++
		s.counters.RefillTime += max(now.Sub(f.begun), 0)
		return f.pool.put(Entry{ID: id, Key: f.Action.Key, Stage: f.Action.Stage, Snapshot: f.Snapshot, Since: now})
	})
}

// Fail says that it failed. Nothing more is begun for this key until a back-off
// has passed, and then one at a time until one succeeds; other keys go on.
func (f *Flight) Fail(now time.Time) {
	f.end(func(s *shelf) error {
		s.counters.Failures++
		// Launches that were under way together fail together: that is one failure.
		if s.failures == 0 || !f.begun.Before(s.failedAt) {
			s.failures++
			s.failedAt = now
			s.notBefore = now.Add(backoff(s.failures))
		}
		return nil
	})
}

// Cancel says that nothing was tried, because there was no capacity for it or
// the daemon stops: no failure is counted.
func (f *Flight) Cancel() {
	f.end(func(*shelf) error { return nil })
}

func (f *Flight) end(record func(*shelf) error) error {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if f.ended {
		return fmt.Errorf("%v of %v: %w", f.Action.Op, f.Action.Key, ErrEnded)
	}
	f.ended = true
	if f.Action.Op == Retire {
		return nil
	}
	s := f.pool.keys[f.Action.Key]
	s.landing[f.Action.Stage]--
	f.pool.flights--
	return record(s)
}

func backoff(failures int) time.Duration {
	return min(firstBackoff<<min(failures-1, 10), maxBackoff)
}

package warmpool

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Pool keeps the entries of all keys. The zero value is empty and ready. It is
// safe for concurrent use; every call takes microseconds and never blocks on a
// machine.
type Pool struct {
	mu   sync.Mutex
	keys map[Key]*shelf
	// order holds the shelves of the map, in key order.
	order []*shelf
	// where finds an entry by its id.
	where map[string]*shelf
	// flights counts launches and raises of all keys that have begun.
	flights int
}

// shelf is what the pool knows about one key.
type shelf struct {
	key      Key
	target   Target
	snapshot string
	// entries are first in, first out.
	entries [stages][]Entry
	// landing counts the launches and raises on their way to a stage.
	landing [stages]int

	// failures in a row; failedAt is the last and notBefore ends the back-off.
	failures            int
	failedAt, notBefore time.Time
	// begunAt is the last Begin of a launch or raise.
	begunAt time.Time

	counters Counters
}

// maxTarget is far beyond what one machine holds. It keeps a slip in a
// configuration from making plans long.
const maxTarget = 10_000

// SetTarget says how many entries a key should have, up to 10,000 of a stage.
// Plan works towards it.
func (p *Pool) SetTarget(k Key, t Target) {
	t.Ready, t.Prepared = min(max(t.Ready, 0), maxTarget), min(max(t.Prepared, 0), maxTarget)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shelf(k).target = t
}

// SetSnapshot says what a key is restored from. Entries of another snapshot are
// stale from now on: never handed out, and retired by the next plan. With ""
// there is none: nothing is launched, and a key without target, entries and
// flights is forgotten.
func (p *Pool) SetSnapshot(k Key, snapshot string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(k)
	if s.snapshot == snapshot {
		return
	}
	s.snapshot = snapshot
	s.failures, s.notBefore = 0, time.Time{} // what failed was the old one.
}

// Checkout hands out the oldest entry of a key: of the ready ones, else of the
// prepared ones, which counts as a miss. With nothing to give it returns false.
// A stale or too old entry is never handed out. The caller owns the entry.
func (p *Pool) Checkout(k Key, now time.Time) (Entry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.keys[k]
	if s == nil {
		return Entry{}, false // A key that was never set needs no record.
	}
	_, tooOld := s.target.oldest(now)
	for _, stage := range []Stage{Ready, Prepared} {
		i := slices.IndexFunc(s.entries[stage], func(e Entry) bool { return s.good(&e, tooOld) })
		if i < 0 {
			continue
		}
		if stage == Ready {
			s.counters.Hits++
		} else {
			s.counters.Misses++
		}
		return p.take(s, stage, i), true
	}
	s.counters.Misses++
	return Entry{}, false
}

// Remove takes an entry out, for one that died or yields to active work. The
// caller owns it. It returns false for what the pool does not have (any more).
func (p *Pool) Remove(id string) (Entry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove(id)
}

func (p *Pool) remove(id string) (Entry, bool) {
	s, ok := p.where[id]
	if !ok {
		return Entry{}, false
	}
	for stage := range stages {
		if i := slices.IndexFunc(s.entries[stage], func(e Entry) bool { return e.ID == id }); i >= 0 {
			return p.take(s, stage, i), true
		}
	}
	return Entry{}, false
}

func (p *Pool) put(e Entry) error {
	if e.Stage != Prepared && e.Stage != Ready {
		return fmt.Errorf("warm pool entry %s: unknown %v", e.ID, e.Stage)
	}
	if _, ok := p.where[e.ID]; ok {
		return fmt.Errorf("warm pool entry %s: %w", e.ID, ErrExists)
	}
	s := p.shelf(e.Key)
	s.entries[e.Stage] = append(s.entries[e.Stage], e)
	if p.where == nil {
		p.where = map[string]*shelf{}
	}
	p.where[e.ID] = s
	return nil
}

func (p *Pool) take(s *shelf, stage Stage, i int) Entry {
	e := s.entries[stage][i]
	s.entries[stage] = slices.Delete(s.entries[stage], i, i+1)
	delete(p.where, e.ID)
	return e
}

func (p *Pool) shelf(k Key) *shelf {
	if s := p.keys[k]; s != nil {
		return s
	}
	if p.keys == nil {
		p.keys = map[Key]*shelf{}
	}
	s := &shelf{key: k}
	p.keys[k] = s
	i, _ := slices.BinarySearchFunc(p.order, k, func(s *shelf, k Key) int { return s.key.Compare(k) })
	p.order = slices.Insert(p.order, i, s)
	return s
}

// forget drops the keys that nothing refers to, so that templates that come and
// go leave no trace.
func (p *Pool) forget() {
	p.order = slices.DeleteFunc(p.order, func(s *shelf) bool {
		gone := s.target == Target{} && s.snapshot == "" && len(s.entries[Ready])+len(s.entries[Prepared])+s.landing[Ready]+s.landing[Prepared] == 0
		if gone {
			delete(p.keys, s.key)
		}
		return gone
	})
}

// good reports whether an entry may be handed out.
func (s *shelf) good(e *Entry, tooOld time.Time) bool {
	return e.Snapshot == s.snapshot && e.Since.After(tooOld)
}

// fit counts the entries of a stage that may be handed out.
func (s *shelf) fit(stage Stage, now time.Time) (count int) {
	_, tooOld := s.target.oldest(now)
	for i := range s.entries[stage] {
		if s.good(&s.entries[stage][i], tooOld) {
			count++
		}
	}
	return count
}

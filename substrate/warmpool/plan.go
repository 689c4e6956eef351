package warmpool

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Op is what to do.
type Op int

const (
	// Launch restores a new machine up to the action's stage.
	Launch Op = iota
	// Raise starts and probes the prepared entry ID.
	Raise
	// Retire ends the entry ID.
	Retire
)

func (o Op) String() string {
	if o < Launch || o > Retire {
		return fmt.Sprintf("Op(%d)", int(o))
	}
	return [...]string{"launch", "raise", "retire"}[o]
}

// Reason says why an entry is retired.
type Reason string

// The reasons. They are labels of metrics.
const (
	TooOld        Reason = "too old"
	StaleSnapshot Reason = "stale snapshot"
	TargetLowered Reason = "target lowered"
)

// Action is one thing to do, independent of the others of its plan: the failure
// of one is no reason not to do the next.
type Action struct {
	Op  Op
	Key Key
	// Stage is what a Launch or Raise leads to, or what the retired entry has.
	Stage Stage
	// ID is the entry of a Raise or Retire.
	ID string
	// Why is the reason of a Retire.
	Why Reason
}

// Refill is how much of the refill is allowed; each step includes the ones
// before it.
type Refill int

const (
	// RefillNone begins nothing.
	RefillNone Refill = iota
	// RefillRaise starts prepared entries, which costs least.
	RefillRaise
	// RefillReady also launches ready entries.
	RefillReady
	// RefillAll also launches prepared entries.
	RefillAll
)

// Limits are what the whole pool may do now. The zero value empties it.
type Limits struct {
	// Ready and Prepared are the most entries of each stage, over all keys. They
	// are dealt out evenly; what a key has above its share is retired.
	Ready, Prepared int
	// InFlight is how many launches and raises may be under way at a time.
	InFlight int
	Refill   Refill
}

// Unlimited lets targets alone decide.
var Unlimited = Limits{Ready: math.MaxInt, Prepared: math.MaxInt, InFlight: math.MaxInt, Refill: RefillAll}

// Plan returns what to do now, in this order: retirements by key, ready before
// prepared and oldest first; then what fills the ready stage; then what fills
// the prepared stage. Filling goes to the key that has least, and among equals
// to the one that waited longest, then by key: no key waits for another to be
// full. It changes nothing: an action takes effect with Begin, so begin the
// actions of one plan before you ask for the next.
func (p *Pool) Plan(now time.Time, lim Limits) []Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	pl := planner{now: now, lim: lim, slots: lim.InFlight - p.flights, room: [stages]int{Ready: lim.Ready, Prepared: lim.Prepared}}
	pl.lines = make([]line, len(p.order))
	for i, k := range p.order {
		pl.lines[i] = line{key: k, shelf: p.keys[k]}
	}
	for _, stage := range []Stage{Ready, Prepared} {
		pl.share(stage)
	}
	for i := range pl.lines {
		pl.retire(&pl.lines[i])
	}
	slices.SortStableFunc(pl.lines, func(a, b line) int { return a.shelf.begunAt.Compare(b.shelf.begunAt) })
	if lim.Refill >= RefillRaise {
		pl.fill(Ready)
	}
	if lim.Refill >= RefillAll {
		pl.fill(Prepared)
	}
	return pl.actions
}

// planner is the state of one Plan.
type planner struct {
	now     time.Time
	lim     Limits
	lines   []line
	actions []Action
	// slots is how many more may begin, room how many more entries of a stage
	// there may be.
	slots int
	room  [stages]int
}

// line is one key within a plan.
type line struct {
	key   Key
	shelf *shelf
	// share is the target of a stage within the limits.
	share [stages]int
	// have counts what fills the share: entries that are not ageing, and flights.
	have [stages]int
	// raisable are prepared entries, oldest first.
	raisable []Entry
	began    int
}

// share deals the limit of a stage out one by one, so that it is the largest
// targets that are cut.
func (pl *planner) share(stage Stage) {
	left := pl.room[stage]
	for dealt := true; dealt && left > 0; {
		dealt = false
		for i := range pl.lines {
			l := &pl.lines[i]
			if left > 0 && l.share[stage] < l.shelf.target.of(stage) {
				l.share[stage]++
				left--
				dealt = true
			}
		}
	}
}

func (pl *planner) retire(l *line) {
	s := l.shelf
	for _, stage := range []Stage{Ready, Prepared} {
		var fit []Entry
		for _, e := range s.entries[stage] {
			switch {
			case e.Snapshot != s.snapshot:
				pl.end(e, StaleSnapshot)
			case s.target.tooOld(e, pl.now):
				pl.end(e, TooOld)
			default:
				fit = append(fit, e)
			}
		}
		for len(fit) > l.share[stage] {
			// The oldest go first: with an unchanged target that is an ageing one
			// whose replacement has arrived.
			why := TargetLowered
			if s.target.ageing(fit[0], pl.now) {
				why = TooOld
			}
			pl.end(fit[0], why)
			fit = fit[1:]
		}
		if stage == Prepared {
			l.raisable = fit
		}
		l.have[stage] = s.landing[stage]
		for _, e := range fit {
			if !s.target.ageing(e, pl.now) {
				l.have[stage]++
			}
		}
		pl.room[stage] -= len(fit) + s.landing[stage]
	}
}

func (pl *planner) end(e Entry, why Reason) {
	pl.actions = append(pl.actions, Action{Op: Retire, Key: e.Key, Stage: e.Stage, ID: e.ID, Why: why})
}

// fill gives one to each key that has fewer than one, then to each that has
// fewer than two, and so on.
func (pl *planner) fill(stage Stage) {
	for level, more := 1, true; more && pl.slots > 0; level++ {
		more = false
		for i := range pl.lines {
			l := &pl.lines[i]
			if l.share[stage] > level {
				more = true
			}
			if l.share[stage] >= level && l.have[stage] < level && pl.slots > 0 && pl.room[stage] > 0 && l.willing(pl.now) {
				pl.add(l, stage)
			}
		}
	}
}

func (pl *planner) add(l *line, stage Stage) {
	a := Action{Op: Launch, Key: l.key, Stage: stage}
	switch {
	case stage == Ready && len(l.raisable) > 0:
		e := l.raisable[0]
		l.raisable = l.raisable[1:]
		a.Op, a.ID = Raise, e.ID
		pl.room[Prepared]++
		if !l.shelf.target.ageing(e, pl.now) {
			l.have[Prepared]--
		}
	case stage == Ready && pl.lim.Refill < RefillReady:
		return
	}
	pl.actions = append(pl.actions, a)
	pl.room[stage]--
	pl.slots--
	l.have[stage]++
	l.began++
}

// willing reports whether something may be begun for a key: it has a snapshot,
// and it is not in back-off. After a failure one attempt at a time is enough.
func (l *line) willing(now time.Time) bool {
	s := l.shelf
	if s.snapshot == "" || now.Before(s.notBefore) {
		return false
	}
	return s.failures == 0 || l.began+s.landing[Ready]+s.landing[Prepared] == 0
}

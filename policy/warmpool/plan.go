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

// The reasons. They are labels of metrics. TargetLowered is also for what the
// limits leave no room for.
const (
	TooOld        Reason = "too old"
	StaleSnapshot Reason = "stale snapshot"
	TargetLowered Reason = "target lowered"
)

// Action is one thing to do, independent of the others of its plan: the failure
// of one does not prevent the next.
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
	// are dealt out evenly. What there is above is retired, from the keys that are
	// most above their share; so is what makes room for a key that has less than
	// half of its share.
	Ready, Prepared int
	// InFlight is how many launches and raises may be under way at a time.
	InFlight int
	Refill   Refill
}

// Unlimited lets targets alone decide.
var Unlimited = Limits{Ready: math.MaxInt, Prepared: math.MaxInt, InFlight: math.MaxInt, Refill: RefillAll}

// Refilling returns the limits for one refill of a machine that makes so many
// machines at the same time. One processor is left for requests that wait for a
// sandbox, and without room on the disk nothing is begun.
func (l Limits) Refilling(launches int, room bool) Limits {
	l.InFlight = min(l.InFlight, max(1, launches/2))
	if !room {
		l.Refill = RefillNone
	}
	return l
}

const (
	// RefillInterval is how often the pool is refilled when nothing asks for it.
	RefillInterval = 5 * time.Second
	// Cooldown is how long a refill leaves a sandbox alone that was just handed out: a
	// restore would compete with its first command for a processor. An empty pool is
	// refilled at once.
	Cooldown = 300 * time.Millisecond
)

// Rest returns how long a refill has to wait yet, zero or less if not at all, with
// ready entries left and the last checkout at taken.
func Rest(now, taken time.Time, ready int) time.Duration {
	if ready == 0 {
		return 0
	}
	return Cooldown - now.Sub(taken)
}

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
	for i, s := range p.order {
		pl.lines[i].shelf = s
	}
	for _, stage := range []Stage{Ready, Prepared} {
		pl.share(stage)
		pl.weigh(stage)
	}
	for i := range pl.lines {
		pl.retire(&pl.lines[i], Ready)
		pl.retire(&pl.lines[i], Prepared)
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

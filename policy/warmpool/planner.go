package warmpool

import (
	"slices"
	"time"
)

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
	shelf *shelf
	// share is the target of a stage within the limits.
	share [stages]int
	// keep and surplus are the good entries, parted.
	keep, surplus [stages]int
	// have counts what fills the share: entries that are not ageing, and flights.
	have [stages]int
	// raisable counts the good prepared entries that are left to raise, gone the
	// older ones that are raised or retired.
	raisable, gone int
	began          int
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

// weigh finds how many entries of each key are too many: those above its target,
// and those above its share where the limit is exceeded or another key has less
// than half of its share: to even out more than that costs more launches than it
// saves misses. What is retired makes room only when it is gone, with the next
// plan.
func (pl *planner) weigh(stage Stage) {
	poor, left := 0, pl.room[stage]
	for i := range pl.lines {
		l := &pl.lines[i]
		fit, landing := l.shelf.fit(stage, pl.now), l.shelf.landing[stage]
		l.keep[stage] = min(fit, l.shelf.target.of(stage))
		l.surplus[stage] = fit - l.keep[stage]
		if 2*(l.keep[stage]+landing) < l.share[stage] && l.willing(pl.now) {
			poor++
		}
		pl.room[stage] -= fit + landing
		left -= l.keep[stage] + landing
	}
	for ; left < poor; left++ {
		var most *line
		for i := range pl.lines {
			l := &pl.lines[i]
			if above := l.keep[stage] - l.share[stage]; above > 0 && (most == nil || above > most.keep[stage]-most.share[stage]) {
				most = l
			}
		}
		if most == nil {
			return
		}
		most.keep[stage]--
		most.surplus[stage]++
	}
}

func (pl *planner) retire(l *line, stage Stage) {
	s := l.shelf
	surplus := l.surplus[stage]
	if stage == Prepared {
		l.raisable, l.gone = l.keep[stage], surplus
	}
	l.have[stage] = s.landing[stage]
	ageing, tooOld := s.target.oldest(pl.now)
	for i := range s.entries[stage] {
		e := &s.entries[stage][i]
		fresh := e.Since.After(ageing)
		switch {
		case e.Snapshot != s.snapshot:
			pl.end(e, StaleSnapshot)
		case !e.Since.After(tooOld):
			pl.end(e, TooOld)
		case surplus > 0 && !fresh:
			// The oldest go first: with an unchanged target that is an ageing one
			// whose replacement has arrived.
			surplus--
			pl.end(e, TooOld)
		case surplus > 0:
			surplus--
			pl.end(e, TargetLowered)
		case fresh:
			l.have[stage]++
		}
	}
}

func (pl *planner) end(e *Entry, why Reason) {
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
	a := Action{Op: Launch, Key: l.shelf.key, Stage: stage}
	switch {
	case stage == Ready && l.raisable > 0:
		e := l.raise(pl.now)
		a.Op, a.ID = Raise, e.ID
		pl.room[Prepared]++
		if ageing, _ := l.shelf.target.oldest(pl.now); e.Since.After(ageing) {
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

// raise picks the oldest good prepared entry that is left.
func (l *line) raise(now time.Time) Entry {
	_, tooOld := l.shelf.target.oldest(now)
	skip := l.gone
	i := slices.IndexFunc(l.shelf.entries[Prepared], func(e Entry) bool {
		if l.shelf.good(&e, tooOld) {
			skip--
		}
		return skip < 0
	})
	l.raisable--
	l.gone++
	return l.shelf.entries[Prepared][i]
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

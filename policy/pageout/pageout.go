// Package pageout decides which idle sandboxes a daemon pages out to the host's swap, and
// when. It is pure policy: observations and the time come in, ids come out. It imports
// the standard library only; runtime carries its decisions out.
//
//	awake --> idle --> paged out        after the wait of the sandbox, or at once under pressure
//	  ^---------+----------'            as soon as it is used
package pageout

import (
	"cmp"
	"slices"
	"time"
)

const (
	// DefaultAfter is how long a sandbox is idle before it is paged out: longer than an
	// agent thinks between two commands, most of the time, and much shorter than the five
	// minutes that a sandbox has by default.
	DefaultAfter = 30 * time.Second
	// Quiet is the processor time that an idle sandbox uses in a second at most. Its
	// kernel uses 0.04 ms, and the daemon's health checks and questions up to 1 ms; a
	// program that does anything uses more.
	Quiet = 2 * time.Millisecond
	// Worth is how much memory must have come back for another page-out: touching
	// less is what an idle sandbox does.
	Worth = 3 << 20
	// mostDoubled bounds the wait of a sandbox that wakes often, to 32 times the first.
	mostDoubled = 5
	// AtOnce is how many sandboxes are paged out in a step without pressure.
	AtOnce = 8
)

// Observation is a sandbox at one moment.
type Observation struct {
	ID string
	// Run names its machine: another one has other memory.
	Run int
	At  time.Time
	// CPU is the processor time that the machine has used, and Memory its bytes.
	CPU    time.Duration
	Memory int64
	// Traffic is when bytes went into or out of the sandbox last; zero if never.
	Traffic time.Time
	// Busy: a lifecycle call works on it.
	Busy bool
}

// Idle keeps which sandboxes are idle, and which are paged out. Make it with New. It is not
// safe for concurrent use.
type Idle struct {
	after   time.Duration
	all     map[string]*state
	outs    uint64
	wakeUps uint64
}

// state is what is known of a sandbox.
type state struct {
	last  Observation
	since time.Time // idle since then
	seen  bool      // it was seen idle, in an interval between two observations
	// out is when it was paged out, and zero if it is not; freed is what that freed.
	out   time.Time
	freed int64
	// low is the least memory that was seen since; negative before there is any.
	low int64
	// doubled is how often the wait is to be doubled.
	doubled int
	// failed: it could not be paged out, and waits under pressure, too.
	failed bool
}

// New returns an Idle that has seen no sandbox. A sandbox is paged out when it was idle
// for so long.
func New(after time.Duration) *Idle { return &Idle{after: after, all: map[string]*state{}} }

// Observe takes an observation. It must be later than the last one of the sandbox.
func (i *Idle) Observe(o Observation) {
	s := i.all[o.ID]
	if s == nil || s.last.Run != o.Run {
		i.all[o.ID] = &state{last: o, since: o.At}
		return
	}
	passed := o.At.Sub(s.last.At)
	if passed <= 0 {
		return
	}
	used := o.CPU - s.last.CPU
	// The processor is not measured exactly enough for short intervals.
	active := used > max(time.Duration(passed.Seconds()*float64(Quiet)), Quiet) || !o.Traffic.Before(s.last.At) || o.Busy || s.last.Busy
	s.last = o
	s.seen = !active
	if s.out.IsZero() {
		if active {
			s.since = o.At
		}
		return
	}
	if s.low < 0 || o.Memory < s.low {
		s.low = o.Memory
	}
	if active || o.Memory-s.low >= Worth {
		i.wake(s)
	}
}

// wake notes that a sandbox was used. One that slept for less time than it was waited for is
// waited for twice as long the next time, and another one half as long.
func (i *Idle) wake(s *state) {
	if slept := s.last.At.Sub(s.out); slept < i.wait(s) {
		s.doubled = min(s.doubled+1, mostDoubled)
	} else {
		s.doubled = max(s.doubled-1, 0)
	}
	s.out, s.since, s.freed = time.Time{}, s.last.At, 0
	i.wakeUps++
}

func (i *Idle) wait(s *state) time.Duration { return i.after << s.doubled }

// Due returns the sandboxes that are to be paged out now, those that have been idle longest
// first. room is how many bytes may still go to swap. Under pressure they are all that
// were idle when they were seen last, without a wait and a bound.
func (i *Idle) Due(now time.Time, room int64, pressed bool) []string {
	if room <= 0 {
		return nil
	}
	var due []*state
	for _, s := range i.all {
		if s.out.IsZero() && s.seen && !s.last.Busy && (pressed && !s.failed || now.Sub(s.since) >= i.wait(s)) {
			due = append(due, s)
		}
	}
	slices.SortFunc(due, func(a, b *state) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.last.ID, b.last.ID))
	})
	var ids []string
	for _, s := range due {
		if !pressed && len(ids) == AtOnce {
			break
		}
		if s.last.Memory <= room {
			ids = append(ids, s.last.ID)
			room -= s.last.Memory
		}
	}
	return ids
}

// Still reports whether a sandbox was idle when it was observed last.
func (i *Idle) Still(id string) bool {
	s := i.all[id]
	return s != nil && s.seen
}

// Done notes that a sandbox was paged out, and how many bytes that freed.
func (i *Idle) Done(id string, at time.Time, freed int64) {
	if s := i.all[id]; s != nil {
		s.out, s.freed, s.low, s.failed = at, freed, -1, false
		i.outs++
	}
}

// Failed notes that a sandbox could not be paged out: it waits again, for longer.
func (i *Idle) Failed(id string, at time.Time) {
	if s := i.all[id]; s != nil {
		s.since, s.doubled, s.failed = at, min(s.doubled+1, mostDoubled), true
	}
}

// PagedOut reports whether a sandbox is paged out and has not been used since. traffic is
// when it had traffic last, of which it may not have been observed yet.
func (i *Idle) PagedOut(id string, traffic time.Time) bool {
	s := i.all[id]
	return s != nil && !s.out.IsZero() && traffic.Before(s.out)
}

// Keep forgets all sandboxes but those for which keep is true.
func (i *Idle) Keep(keep func(id string) bool) {
	for id := range i.all {
		if !keep(id) {
			delete(i.all, id)
		}
	}
}

// Figures are counts of an Idle.
type Figures struct {
	// PagedOut sandboxes are so now, and Bytes what that freed.
	PagedOut int
	Bytes    int64
	// Outs counts the page-outs, and WakeUps how often one was used again, since New.
	Outs, WakeUps uint64
}

// Figures counts them.
func (i *Idle) Figures() Figures {
	f := Figures{Outs: i.outs, WakeUps: i.wakeUps}
	for _, s := range i.all {
		if !s.out.IsZero() {
			f.PagedOut++
			f.Bytes += s.freed
		}
	}
	return f
}

// Package timeline is the virtual time of a simulation: a clock that jumps from one
// event to the next, and a digest of the events that happened. It knows neither what
// the events are about nor what they do; the same calls give the same events.
//
// It may import the standard library only; simulate uses it.
package timeline

import "time"

// Subject is the object an event happens to. Its version changes when it changes its
// state, and makes its earlier events void.
type Subject interface {
	comparable
	Version() int
}

// Event is something that happens at a virtual time.
type Event[K ~uint8, S Subject] struct {
	Kind K
	// Subject is the zero value if the event happens to no object.
	Subject S

	at      time.Duration
	seq     uint64 // of events at the same time, the first made comes first
	version int    // of the subject when the event was made
}

func (e Event[K, S]) before(o Event[K, S]) bool {
	return e.at < o.at || e.at == o.at && e.seq < o.seq
}

// void reports whether the subject has left the state that it was in.
func (e Event[K, S]) void() bool {
	var none S
	return e.Subject != none && e.Subject.Version() != e.version
}

// Timeline is the clock and the events to come. Make it with New. It is not safe for
// concurrent use.
type Timeline[K ~uint8, S Subject] struct {
	now    time.Duration
	events heap[K, S]
	seq    uint64
	count  uint64
	digest Digest
}

// New returns a timeline at time zero without events.
func New[K ~uint8, S Subject]() *Timeline[K, S] { return &Timeline[K, S]{digest: offset} }

// Now returns the virtual time since the start.
func (t *Timeline[K, S]) Now() time.Duration { return t.now }

// Time returns the virtual time for callers that need a date. The start is the Unix
// epoch.
func (t *Timeline[K, S]) Time() time.Time { return time.Unix(0, int64(t.now)).UTC() }

// After makes an event of a kind happen to subject in d, unless subject changes its
// state before.
func (t *Timeline[K, S]) After(d time.Duration, kind K, subject S) {
	e := Event[K, S]{at: t.now + d, seq: t.seq, Kind: kind, Subject: subject}
	var none S
	if subject != none {
		e.version = subject.Version()
	}
	t.seq++
	t.events.push(e)
}

// Next advances the clock to the next event that is not void, and returns it. It
// returns false if there is none.
func (t *Timeline[K, S]) Next() (Event[K, S], bool) {
	for len(t.events) > 0 {
		e := t.events.pop()
		if e.void() {
			continue
		}
		t.now = e.at
		t.count++
		t.Fold(uint64(e.at), uint64(e.Kind))
		return e, true
	}
	return Event[K, S]{}, false
}

// Fold adds words to the digest, which has the time and the kind of each event
// already.
func (t *Timeline[K, S]) Fold(words ...uint64) {
	for _, w := range words {
		t.digest = t.digest.Fold(w)
	}
}

// Count returns how many events have happened.
func (t *Timeline[K, S]) Count() uint64 { return t.count }

// Digest returns the digest of the events that have happened.
func (t *Timeline[K, S]) Digest() Digest { return t.digest }

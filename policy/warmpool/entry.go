// Package warmpool keeps the books of machines that were restored ahead of need
// and decides what to launch, raise and retire. It is pure policy: it holds no
// machine, reads no clock and starts no goroutine; the owner of the machines
// does what it plans. It may import the standard library only; runtime and the
// simulation use it.
//
// An entry goes through these hands:
//
//	Plan -> Launch -> Begin -> (the owner restores and probes) -> Flight.Done
//	     -> Prepared or Ready in the pool -> Checkout, Retire or Remove
//
// The pool owns an entry from Done until Checkout, a Begin of Raise or
// Retire, or Remove hands it out: exactly one caller gets it.
package warmpool

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// ErrExists is what Done gives for an id that the pool has already.
var ErrExists = errors.New("already in the pool")

// ErrEnded is what Done gives for a flight that was ended before.
var ErrEnded = errors.New("the flight has ended")

// Key says which sandboxes an entry can serve.
type Key struct{ Repo, Template, Profile string }

// Compare orders keys by repo, template and profile: the order of plans and of
// evictions.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Repo, o.Repo), cmp.Compare(k.Template, o.Template), cmp.Compare(k.Profile, o.Profile))
}

// String is for logs and metric labels.
func (k Key) String() string { return k.Repo + "/" + k.Template + "/" + k.Profile }

// Stage is how far an entry has come.
type Stage int

// The stages, in order.
const (
	// Prepared is created and not started: a restore that needs only Start.
	Prepared Stage = iota
	// Ready is restored, probed and running.
	Ready
	stages
)

func (s Stage) String() string {
	switch s {
	case Prepared:
		return "prepared"
	case Ready:
		return "ready"
	}
	return fmt.Sprintf("Stage(%d)", int(s))
}

// Entry is one machine in the pool.
type Entry struct {
	// ID is the owner's name for the machine.
	ID    string
	Key   Key
	Stage Stage
	// Snapshot is what it was restored from.
	Snapshot string
	// Since is when it reached its stage.
	Since time.Time
}

// Target is what the pool should hold for one key. The zero value is nothing.
type Target struct {
	Ready, Prepared int
	// MaxAge is the age at which an entry is no longer handed out; zero is
	// never. A replacement is launched before, from four fifths of it.
	MaxAge time.Duration
}

// DefaultTarget is the default warm pool of the base template.
var DefaultTarget = Target{Ready: 3, Prepared: 1, MaxAge: time.Hour}

func (t Target) of(s Stage) int {
	if s == Ready {
		return t.Ready
	}
	return t.Prepared
}

// oldest returns the times since when an entry is ageing and since when it is
// too old: one that is in its stage since then, or longer. Where entries don't
// age, they are before every time.
func (t Target) oldest(now time.Time) (ageing, tooOld time.Time) {
	if t.MaxAge <= 0 {
		never := time.Time{}.Add(-1)
		return never, never
	}
	return now.Add(t.MaxAge/5 - t.MaxAge), now.Add(-t.MaxAge)
}

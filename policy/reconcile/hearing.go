package reconcile

import (
	"fmt"
	"time"
)

// MassSilence is the least number of sandboxes whose silence at the same time
// is the daemon's: guests fail one by one, what lies between the daemon and all
// of them fails at once.
const MassSilence = 3

// Round is one round of asking running sandboxes for a sign of life.
type Round struct {
	// Late is how long after its time the round began, and Tolerance how late it
	// may be: a daemon that was stopped, or had no processor, begins late.
	Late, Tolerance time.Duration
	// Heard answered. Silent did not, although the daemon's own check of the way
	// to them succeeded.
	Heard, Silent int
	// Lacking is what the daemon was found to lack during the round, empty if
	// nothing.
	Lacking string
}

// Audible reports whether silence in this round counts against a sandbox, and
// if it does not, why:
//
//	the daemon lacked something                        no
//	it began too late                                  no
//	MassSilence or more are silent, and more than half no
//	anything else                                      yes
//
// A round that does not count also ends what was counted before: silence counts
// only while the daemon could hear all the time.
func (r Round) Audible() (ok bool, why string) {
	switch {
	case r.Lacking != "":
		return false, r.Lacking
	case r.Late > r.Tolerance:
		return false, fmt.Sprintf("the daemon did not run for %v", r.Late.Truncate(time.Millisecond))
	case r.Silent >= MassSilence && r.Silent > r.Heard:
		return false, fmt.Sprintf("%d of %d sandboxes are silent at once", r.Silent, r.Silent+r.Heard)
	}
	return true, ""
}

package reconcile

import (
	"fmt"
	"github.com/rundlet/rundlet/sandbox"
	"time"
)

// DefaultHeartbeatTimeout is how long a running sandbox may be silent.
const DefaultHeartbeatTimeout = 300 * time.Second

// Watched is a sandbox of a running daemon.
type Watched struct {
	ID string
	// Heartbeat is when the sandbox last responded; the zero time if this is not
	// watched. It counts for running sandboxes only: in every
	// other state the machine may be frozen.
	Heartbeat time.Time
	// Deadline is when the transitional state has to have its outcome; it is
	// not used in other states. The zero time has always passed: each
	// transitional state has a deadline.
	Deadline time.Time
	// Row, Machine and Network are what the recovery rule goes by.
	Row     Row
	Machine Machine
	Network bool
}

// Stuck returns a record for each sandbox, in the given order:
//
//	no id                                          Quarantine
//	pausing, resuming, snapshot not readable       Preserve
//	transitional, deadline passed                  what Decide says after a restart
//	running, heartbeat age is timeout or more      Kill
//	anything else                                  Preserve
//
// The caller ends what still works on a transition before it applies its
// record. A heartbeat of the future, after the clock was set back, is young.
func Stuck(watched []Watched, now time.Time, timeout time.Duration) []Record {
	out := make([]Record, 0, len(watched))
	for _, w := range watched {
		out = append(out, w.judge(now, timeout))
	}
	return out
}

func (w Watched) judge(now time.Time, timeout time.Duration) Record {
	age := now.Sub(w.Heartbeat)
	switch {
	case w.ID == "":
		return Sandbox(w.ID, w.Row, w.Machine, w.Network)
	case (w.Row.State == sandbox.StatePausing || w.Row.State == sandbox.StateResuming) && w.Row.Unread != "":
		return Record{KindSandbox, w.ID, Decision{Preserve, "its snapshot could not be read: " + w.Row.Unread, w.Row.State}}
	case w.Row.State.Transitional() && !now.Before(w.Deadline):
		r := Sandbox(w.ID, w.Row, w.Machine, w.Network)
		if w.Row.State != sandbox.StateKilling { // Its reason is why the sandbox ends.
			r.Reason = fmt.Sprintf("%s (%s for too long)", r.Reason, w.Row.State)
		}
		return r
	case w.Row.State == sandbox.StateRunning && !w.Heartbeat.IsZero() && age >= timeout:
		return Record{KindSandbox, w.ID, kill(fmt.Sprintf("stuck: no sign of life for %v", age.Truncate(time.Second)))}
	}
	return Record{KindSandbox, w.ID, Decision{Preserve, "it is not stuck", w.Row.State}}
}

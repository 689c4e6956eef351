package reconcile

import (
	"fmt"
	"github.com/rundlet/rundlet/sandbox"

	"github.com/rundlet/rundlet/vm"
)

// TimedOut is the reason of a decision that the timeout made, and no loss.
const TimedOut = "timeout"

// Decide returns the decision about the sandbox of a row. network says whether its
// network, with all of its rules, is there.
//
//	state     what was found                               decision
//	killing   anything                                     Kill, with the row's reason
//	creating  anything                                     Kill: its caller never got it
//	running   machine cannot go on                         Kill (lost)
//	          machine frozen                               as running, by UndoPause
//	          no network                                   Pause: a resume gives it a new one
//	          agent does not answer                        Kill (lost)
//	          expired                                      Kill (timeout), or Pause if that was asked for
//	          otherwise                                    Keep
//	pausing   snapshot complete                            FinishPause
//	          machine cannot go on                         Kill (lost)
//	          expired, or no network                       Pause: once more
//	          running and agent does not answer            Kill (lost)
//	          otherwise                                    UndoPause
//	paused    snapshot, and a machine that runs            Quarantine
//	          snapshot and another machine                 BackToPaused
//	          snapshot                                     KeepPaused
//	          snapshot unread, no machine                  KeepPaused
//	          no snapshot                                  Quarantine
//	resuming  snapshot, or unread and no machine           BackToPaused
//	          no snapshot                                  Quarantine
//	other     anything                                     Quarantine
//
// A snapshot that is not found may be on a disk that is not mounted: that is
// why its sandbox is kept. A sandbox is never paused while its machine runs: such
// a row is older than the machine, and to go by it would lose what the machine did.
func Decide(row Row, machine Machine, network bool) Decision {
	switch row.State {
	case sandbox.StateKilling, sandbox.StateKilled:
		reason := row.Reason
		if reason == "" {
			reason = "lost: its end was not finished, and its reason is not recorded"
		}
		return kill(reason)
	case sandbox.StateCreating:
		return kill("lost: its creation was not finished")
	case sandbox.StateRunning:
		return running(row, machine, network)
	case sandbox.StatePausing:
		return pausing(row, machine, network)
	case sandbox.StatePaused:
		switch {
		case row.Unread != "" && !machine.Present:
			return Decision{KeepPaused, "it is paused; its snapshot could not be looked at: " + row.Unread, sandbox.StatePaused}
		case !row.Snapshot:
			return quarantine(sandbox.StatePaused, "it is paused, but its snapshot is missing, incomplete or does not fit this host")
		case machine.Present && machine.usable() && machine.Status == vm.StatusRunning:
			return quarantine(sandbox.StatePaused, "it is paused, but its machine runs: the database is older than the machine")
		case machine.Present:
			return Decision{BackToPaused, "it is paused; its machine was left over", sandbox.StatePaused}
		}
		return Decision{KeepPaused, "it is paused and its snapshot is complete", sandbox.StatePaused}
	case sandbox.StateResuming:
		if row.Snapshot || row.Unread != "" && !machine.Present {
			return Decision{BackToPaused, "its resume was not finished; its snapshot is still there", sandbox.StatePaused}
		}
		return quarantine(sandbox.StatePaused, "it was resuming, but its snapshot is missing, incomplete or does not fit this host")
	}
	return quarantine(row.State, fmt.Sprintf("its state %.40q is unknown", row.State))
}

func running(row Row, machine Machine, network bool) Decision {
	frozen := machine.Status == vm.StatusStopped
	switch {
	case !machine.usable():
		return kill(machine.lost())
	case row.Expired && !row.PauseOnTimeout:
		return kill(TimedOut)
	case !network:
		// Without it no agent can be heard either.
		return Decision{Pause, "its network is gone; a resume gives it a new one", sandbox.StatePaused}
	case !frozen && machine.Agent == No:
		return kill("lost: its agent does not answer")
	case row.Expired:
		return Decision{Pause, TimedOut, sandbox.StatePaused}
	case frozen:
		return Decision{UndoPause, "its machine was frozen while it was saved", sandbox.StateRunning}
	}
	return Decision{Keep, "it runs", sandbox.StateRunning}
}

func pausing(row Row, machine Machine, network bool) Decision {
	frozen := machine.Status == vm.StatusStopped
	switch {
	case row.Unread != "":
		// All that is left of it may be there.
		return quarantine(sandbox.StatePausing, "whether its snapshot is complete could not be read: "+row.Unread)
	case row.Snapshot:
		return Decision{FinishPause, "its snapshot is complete", sandbox.StatePaused}
	case !machine.usable():
		return kill(machine.lost())
	case row.Expired || !network:
		// It cannot run on, and somebody asked for the pause.
		return Decision{Pause, "its pause was not finished; it is paused once more", sandbox.StatePaused}
	case !frozen && machine.Agent == No:
		return kill("lost: its agent does not answer")
	}
	return Decision{UndoPause, "its pause was not finished; its machine goes on", sandbox.StateRunning}
}

func kill(reason string) Decision { return Decision{Kill, reason, sandbox.StateKilled} }

func quarantine(next sandbox.State, reason string) Decision {
	return Decision{Quarantine, reason, next}
}

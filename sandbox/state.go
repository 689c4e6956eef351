package sandbox

import "slices"

// State is where a sandbox is in its life. A sandbox is in exactly one state:
//
//	creating ──> running ──> pausing ──> paused
//	    │          │  ^         │          │
//	    │          │  └─────────┼─ resuming┘
//	    └──────────┴──> killing <┴─────────┘
//	                       └──> killed
//
// A failed pause goes back to running, a failed resume back to paused. Each
// transitional state (creating, pausing, resuming, killing) has an owner, a
// deadline and a recovery rule, so that a restart finishes it or undoes it.
type State string

// The states of a sandbox. The store and the API spell them like this.
const (
	StateCreating State = "creating"
	StateRunning  State = "running"
	StatePausing  State = "pausing"
	StatePaused   State = "paused"
	StateResuming State = "resuming"
	StateKilling  State = "killing"
	StateKilled   State = "killed"
)

// States are all states, in the order of a life. A row in another state was
// written by a newer version.
var States = []State{
	StateCreating, StateRunning, StatePausing, StatePaused, StateResuming, StateKilling, StateKilled,
}

// Known reports whether this version knows the state.
func (s State) Known() bool { return slices.Contains(States, s) }

// Transitional reports whether an operation on the sandbox is in progress.
func (s State) Transitional() bool {
	return s == StateCreating || s == StateKilling || s.Moving()
}

// Moving reports whether the sandbox is between running and paused.
func (s State) Moving() bool { return s == StatePausing || s == StateResuming }

// Visible reports whether clients see a sandbox in this state.
func (s State) Visible() bool {
	return s == StateRunning || s == StatePaused || s.Moving()
}

// Shown is the state that E2B clients get. They know running and paused only: a
// transition has not happened until it is complete.
func (s State) Shown() State {
	switch s {
	case StatePausing:
		return StateRunning
	case StateResuming:
		return StatePaused
	}
	return s
}

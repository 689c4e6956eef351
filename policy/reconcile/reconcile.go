// Package reconcile decides how to recover each sandbox, and whatever else
// an earlier daemon left, after a restart, and which sandboxes are stuck. It is
// pure policy: what was found comes in, decisions come out, and the caller's
// executor carries them out in one ordered path: recover, clean up, quarantine.
// It may import the standard library, sandbox and vm; only runtime and the tools above
// it may import it.
//
// What can be kept is kept: a sandbox ends only when neither its machine nor
// its snapshot can go on. A machine that is present is one that the driver
// adopted (vm.Adopter), which means that the identity of its processes was
// verified; nothing else is ever ended by a decision of this package.
package reconcile

import (
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Row is what the store says about a sandbox.
type Row struct {
	State sandbox.State
	// Reason is why a killing sandbox ends.
	Reason string
	// Snapshot: the pause snapshot that the row names is complete, and fits
	// this host. It counts for a sandbox that is pausing, paused or resuming.
	// One that runs has gone on since: an old snapshot is not it.
	Snapshot bool
	// Unread is why the daemon could not find out about the snapshot, which says
	// nothing about it; empty if it could.
	Unread string
	// Expired: the end of the timeout has passed.
	Expired bool
	// PauseOnTimeout: the timeout pauses the sandbox; otherwise it kills.
	PauseOnTimeout bool
}

// Answer is whether a sandbox's agent was heard.
type Answer int

// The answers. No is for an agent that was given enough time.
const (
	Unknown Answer = iota
	Yes
	No
)

// Machine is what the driver says about a sandbox's machine.
type Machine struct {
	Present bool
	// Status counts if the machine is present: created, running or stopped.
	Status vm.Status
	// Lost is why the machine cannot go on: the driver's reason for one that it
	// could not adopt, or the exit reason of one whose processes ended.
	Lost string
	// Agent counts if the machine is present and running.
	Agent Answer
}

// usable reports whether the machine can run on.
func (m Machine) usable() bool {
	return m.Present && m.Lost == "" && (m.Status == vm.StatusRunning || m.Status == vm.StatusStopped)
}

// lost is the reason of a sandbox whose machine is not usable.
func (m Machine) lost() string {
	switch {
	case m.Lost != "":
		return "lost: " + m.Lost
	case !m.Present:
		return "lost: its machine is gone"
	}
	return "lost: its machine never ran"
}

// Action is what is to be done.
type Action string

// The actions.
const (
	// Keep exposes the running sandbox again.
	Keep Action = "keep"
	// Pause saves the machine and ends it: it lives, but must not go on
	// running. If it cannot be saved the sandbox is killed, with the reason.
	Pause Action = "pause"
	// FinishPause ends the machine if there is one: all of it is in the
	// snapshot. A pause therefore freezes the machine before it saves, or what
	// the guest did since is lost.
	FinishPause Action = "finish_pause"
	// UndoPause continues the machine if it is frozen, and deletes what was
	// saved by half; the sandbox runs.
	UndoPause Action = "undo_pause"
	// BackToPaused ends a half-made machine: the snapshot is still there.
	BackToPaused Action = "back_to_paused"
	// KeepPaused does nothing: the snapshot is there.
	KeepPaused Action = "keep_paused"
	// Kill ends what there is of the sandbox, in the order stop, then release.
	Kill Action = "kill"
	// Free ends or removes orphans.
	Free Action = "free"
	// Quarantine deletes nothing and starts nothing: what was found contradicts
	// itself, and is kept, marked with the reason, for a person to look at.
	Quarantine Action = "quarantine"
	// Preserve leaves alone sandboxes that are not stuck.
	Preserve Action = "preserve"
)

// Class is which part of the ordered path an action belongs to.
type Class string

// The classes, in the order in which they are applied.
const (
	ClassRecover    Class = "recover"
	ClassCleanup    Class = "cleanup"
	ClassQuarantine Class = "quarantine"
)

// Class returns the part of the path that a belongs to.
func (a Action) Class() Class {
	switch a {
	case Keep, Pause, FinishPause, UndoPause, BackToPaused, KeepPaused, Preserve:
		return ClassRecover
	case Kill, Free:
		return ClassCleanup
	}
	return ClassQuarantine
}

// Decision is an action, why, and what it leads to.
type Decision struct {
	Action Action
	// Reason is shown to users and operators; it is never empty.
	Reason string
	// Next is the state of the row when the action was applied; "" for what
	// has no row. It is never a transitional one, but for Preserve.
	Next sandbox.State
}

package sandbox

import (
	"errors"
	"fmt"
	"time"
)

// The error classes, for errors.Is. The e2b package maps them to status codes
// in one place.
var (
	ErrNotFound         = errors.New("sandbox not found")
	ErrTemplateNotFound = errors.New("template not found")
	ErrSnapshotNotFound = errors.New("snapshot not found")
	ErrInvalid          = errors.New("invalid argument")
	// ErrConflict: the sandbox is in a state that does not allow the call now.
	ErrConflict = errors.New("conflict")
	// ErrNotRunning: killed, or paused without auto-resume.
	ErrNotRunning = errors.New("sandbox is not running")
	// ErrNotRestorable: the snapshot is damaged, missing, or does not fit this
	// host or this version of the program. It is kept.
	ErrNotRestorable = errors.New("cannot be restored on this machine")
	// ErrPortClosed: the sandbox runs but nothing listens on the port.
	ErrPortClosed = errors.New("port is not open")
	// ErrCapacity: this node cannot take the sandbox now. See CapacityError.
	ErrCapacity = errors.New("not enough capacity")
	// ErrDiskFull: the host's disk has no space for the data of the call.
	ErrDiskFull = errors.New("the disk of this machine is full")
	// ErrUnsupported: this build or driver cannot do it.
	ErrUnsupported = errors.New("not supported")
	// ErrLacking: the daemon is short of a resource that it needs for itself, such
	// as file descriptors. It says nothing about the sandbox.
	ErrLacking = errors.New("the server is short of resources")
	// ErrNoAnswer: the agent in the sandbox did not answer in time. A sandbox that
	// was being resumed is paused as before.
	ErrNoAnswer = errors.New("the agent in the sandbox does not answer")
	// ErrOutOfMemory: the sandbox or the host has too little memory for the call,
	// or the sandbox was ended for it. See OutOfMemoryError.
	ErrOutOfMemory = errors.New("out of memory")
	// ErrUnavailable: the daemon is starting or shutting down.
	ErrUnavailable = errors.New("unavailable")
)

// RetryError is a temporary ErrUnavailable: the same request may succeed later.
// It concerns one sandbox, or one moment.
type RetryError struct {
	// After is the least time to wait.
	After time.Duration
	// Detail is for the client: what is not available, and why.
	Detail string
}

func (e *RetryError) Error() string { return e.Detail }

// Unwrap makes it an ErrUnavailable.
func (e *RetryError) Unwrap() error { return ErrUnavailable }

// PrepareError is a temporary ErrUnavailable of a template: what it is made of cannot be had.
type PrepareError struct {
	Err error // The cause, which is for the client, too.
}

func (e *PrepareError) Error() string { return e.Err.Error() }

// Unwrap makes it an ErrUnavailable, and whatever its cause is.
func (e *PrepareError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// OutOfMemoryError is an ErrOutOfMemory with its figures.
type OutOfMemoryError struct {
	// Detail is for the client: how much memory there was, or was missing.
	Detail string
	// Err is the cause; it may be nil.
	Err error
}

func (e *OutOfMemoryError) Error() string {
	if e.Err == nil {
		return e.Detail
	}
	return e.Err.Error()
}

// Unwrap makes it an ErrOutOfMemory, and whatever its cause is.
func (e *OutOfMemoryError) Unwrap() []error { return []error{ErrOutOfMemory, e.Err} }

// HostChangedError is the ErrNotRestorable of a sandbox in which a program has a
// file of the host open that was changed since.
type HostChangedError struct {
	File string // as the guest sees it
	How  string // "is gone", "was changed since it was saved", ...
	// Err is the cause; it may be nil.
	Err error
}

func (e *HostChangedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the host's file %.200q %s", e.File, e.How)
	}
	return e.Err.Error()
}

// Unwrap makes it an ErrNotRestorable, and whatever its cause is.
func (e *HostChangedError) Unwrap() []error { return []error{ErrNotRestorable, e.Err} }

// ElsewhereError is the ErrNotRestorable of a sandbox or a snapshot that another
// driver made, or that is on another node. It is kept as it is: parts that are missing
// here say nothing about it.
type ElsewhereError struct {
	// What is the difference, "driver" or "node"; Theirs is the value in the row, and
	// Ours that of this daemon.
	What, Theirs, Ours string
}

func (e *ElsewhereError) Error() string {
	if e.What == "driver" {
		return fmt.Sprintf("it was made by driver %.40q and this daemon runs driver %.40q; it is kept: start rundlet serve with --driver %.40s to use it",
			e.Theirs, e.Ours, e.Theirs)
	}
	return fmt.Sprintf("it is on node %.40q and this is node %.40q; it is kept", e.Theirs, e.Ours)
}

// Unwrap makes it an ErrNotRestorable.
func (e *ElsewhereError) Unwrap() error { return ErrNotRestorable }

// RecordError is the ErrUnavailable of a sandbox whose record was changed by another
// program. Nothing was done, and to try again does not help.
type RecordError struct {
	Err error // the cause
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%v: %v; operator action required", ErrUnavailable, e.Err)
}

// Unwrap makes it an ErrUnavailable, and whatever its cause is.
func (e *RecordError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// ResourceShare is the resource of a request for more than the share of one
// API key, or of all of them.
const ResourceShare = "share"

// CapacityError is an ErrCapacity that says which resource did not suffice.
type CapacityError struct {
	// Resource is "cpu", "memory", "disk", "sandboxes", "queue" (too many requests
	// wait), "wait" (it waited as long as a request may), "pressure" (the host is
	// short of memory or disk and admits nothing) or ResourceShare.
	Resource  string
	Requested int64
	Available int64
	// RetryAfter is 0 if waiting cannot help.
	RetryAfter time.Duration
	// Detail says more; it may be empty. With ResourceShare it is the whole text.
	Detail string
}

func (e *CapacityError) Error() string {
	text := "not enough " + e.Resource + " on this machine"
	switch e.Resource {
	case ResourceShare:
		return e.Detail
	case "queue":
		text = "too many requests wait for capacity on this machine"
	case "wait":
		text = "no capacity became free on this machine in time"
	case "pressure":
		text = "this machine is under pressure and accepts no new work"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap makes it an ErrCapacity.
func (e *CapacityError) Unwrap() error { return ErrCapacity }

package vm

import (
	"errors"
	"fmt"
)

// The error classes. Drivers wrap them with the operation and the machine
// (see Error); callers test with errors.Is.
var (
	ErrNotFound          = errors.New("not found")
	ErrAlreadyExists     = errors.New("already exists")
	ErrInvalid           = errors.New("invalid argument")
	ErrInvalidTransition = errors.New("invalid transition")
	ErrUnsupported       = errors.New("unsupported")
	ErrUnavailable       = errors.New("unavailable")
	// ErrIncompatible: a snapshot that this driver, host or spec cannot restore.
	ErrIncompatible = errors.New("incompatible snapshot")
	// ErrOutOfMemory: a save or a restore needs more memory than the machine or
	// its host has. The error's text has the amount, and the resulting state of the machine.
	ErrOutOfMemory = errors.New("out of memory")
)

// HostChangedError is the ErrIncompatible of a machine or a snapshot in which a
// program has a file of the host open that was changed since: the program cannot
// go on over the new one. Its file system alone can be saved and booted.
type HostChangedError struct {
	File string // as the guest sees it
	How  string // "is gone", "was changed since it was saved", ...
}

func (e *HostChangedError) Error() string {
	return fmt.Sprintf("%v: the host's file %.200q %s, and a program in the sandbox has it open; without the memory (memory: false) its files can be booted",
		ErrIncompatible, e.File, e.How)
}

// Unwrap makes it an ErrIncompatible.
func (e *HostChangedError) Unwrap() error { return ErrIncompatible }

// Error says which operation on which machine failed and why. Its text is safe
// to show: one line, no guest output, no stack.
type Error struct {
	Op   string // "create", "start", ...
	ID   string // the machine
	Kind error  // one of the classes above, or nil
	Err  error  // the cause, may be nil
	Hint string // what to do about it, may be empty
}

func (e *Error) Error() string {
	s := e.Op
	switch {
	case e.ID == "":
	case ValidateID(e.ID) == nil:
		s += " " + e.ID
	default:
		// Whatever a client sent as an id must not break the line.
		s += fmt.Sprintf(" %.80q", e.ID)
	}
	switch {
	case e.Kind != nil && e.Err != nil:
		s += fmt.Sprintf(": %v: %v", e.Kind, e.Err)
	case e.Kind != nil:
		s += ": " + e.Kind.Error()
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap makes both the class and the cause visible to errors.Is and As.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

// TransitionError is ErrInvalidTransition with both ends named.
func TransitionError(op, id string, from, to Status) error {
	return &Error{Op: op, ID: id, Kind: ErrInvalidTransition, Err: fmt.Errorf("from %s to %s", from, to)}
}

// MaxIDLength is the longest machine or snapshot id.
const MaxIDLength = 64

// ValidateID accepts [A-Za-z0-9][A-Za-z0-9_-]{0,63}: such ids are safe as a file
// name, a cgroup name and a host name part, so that no two ids ever map to the
// same name.
func ValidateID(id string) error { return validate("id", id, false) }

// ValidateSnapshotID accepts the ids that ValidateID accepts, also with dots, but not "..".
func ValidateSnapshotID(id string) error { return validate("snapshot id", id, true) }

func validate(what, id string, dots bool) error {
	bad := func(why string) error { return fmt.Errorf("%w: %s %.80q %s", ErrInvalid, what, id, why) }
	if id == "" || len(id) > MaxIDLength {
		return bad("must have 1 to 64 characters")
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '-'):
		case i > 0 && dots && c == '.' && id[i-1] != '.':
		default:
			return bad("has a character that is not allowed")
		}
	}
	return nil
}

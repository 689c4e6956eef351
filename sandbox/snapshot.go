package sandbox

import "time"

// Snapshot is a saved state that sandboxes can be created from. It outlives the
// sandbox that it was taken of.
type Snapshot struct {
	// ID is 20 characters of [a-z0-9]; it can be used as a template id.
	ID string
	// Name is optional and unique: a template's name, and a tag behind a colon unless
	// it is the default one. Taking another snapshot under a name moves it.
	Name string
	// SandboxID is the sandbox that it was taken of.
	SandboxID string
	CreatedAt time.Time
	Bytes     int64
	KeyID     string
}

// ContinuationReason says in which state a session was captured.
type ContinuationReason string

// The reasons for a continuation.
const (
	ReasonStopped ContinuationReason = "stopped"
	ReasonIdle    ContinuationReason = "idle"
	ReasonExited  ContinuationReason = "exited"
)

// Continuation is a session that was captured, for later sandboxes to follow up
// on. It is not a pause: the session itself is not resumed, and any number of
// follow-ups can be started from it, each in a new sandbox.
type Continuation struct {
	// ID is the id of the snapshot that holds it.
	ID        string
	SandboxID string
	Reason    ContinuationReason
	CreatedAt time.Time
	Bytes     int64
}

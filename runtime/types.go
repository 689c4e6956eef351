// Package runtime composes policy and drivers into sandboxes: create (which
// means restore), readiness, time-outs, termination, restart reconciliation. It
// may import vm, network, image, store, policy/* and the agent's client
// side; only e2b and cmd may import it. It is the one package that knows both
// policy and drivers, and it knows no wire protocol.
package runtime

import (
	"errors"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// State is where a sandbox is in its life. Every transitional state (creating,
// pausing, resuming, killing) has an owner, a deadline and a recovery rule.
type State string

// The states of a sandbox. The spelling is stored and shown.
const (
	StateCreating State = "creating"
	StateRunning  State = "running"
	StatePausing  State = "pausing"
	StatePaused   State = "paused"
	StateResuming State = "resuming"
	StateKilling  State = "killing"
	StateKilled   State = "killed"
)

// Live reports whether the sandbox has, or is about to have, a machine.
func (s State) Live() bool { return s != StateKilled && s != StatePaused }

// Sandbox is a sandbox as the store has it: a copy, free to keep.
type Sandbox struct {
	// ID is "i" and 20 characters of [a-z0-9].
	ID string
	// TemplateID is the id of the template; Alias the name it was asked by.
	TemplateID string
	Alias      string
	State      State
	// Reason says why a killed sandbox was killed: "killed by request",
	// "timeout", "oom", "exited: 1", "lost: host rebooted", ...
	Reason   string
	Metadata map[string]string
	// StartedAt begins the current run (it moves on resume).
	StartedAt time.Time
	// EndAt is when the time-out takes effect.
	EndAt time.Time
	// KilledAt is zero unless killed.
	KilledAt  time.Time
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
	// EnvdVersion is the agent's protocol version.
	EnvdVersion string
	// EnvdAccessToken guards the agent; empty for a sandbox created without
	// secure.
	EnvdAccessToken string
	// TrafficAccessToken guards the other ports; empty: public.
	TrafficAccessToken string
	// AllowInternet is nil if the request did not say (allowed).
	AllowInternet *bool
	// KeyID is the API key that created it.
	KeyID string
	// OnTimeout is what happens at EndAt.
	OnTimeout OnTimeout
	// AutoResume: traffic to a paused sandbox resumes it.
	AutoResume bool
	// FilesystemOnly: the sandbox is paused without its memory. It boots afresh
	// when it is resumed, and traffic does not resume it.
	FilesystemOnly bool
	// FollowsUp is the continuation that the sandbox was started from, or nil.
	FollowsUp *Continuation
}

// OnTimeout says what the end of the time-out does to a sandbox.
type OnTimeout string

// What a time-out does. The empty value is OnTimeoutKill.
const (
	OnTimeoutKill            OnTimeout = "kill"
	OnTimeoutPause           OnTimeout = "pause"
	OnTimeoutPauseFilesystem OnTimeout = "pause_filesystem"
)

// CreateRequest asks for a sandbox. The zero value of a field means "not
// given"; Validate-d by Create.
type CreateRequest struct {
	// Template is an id or an alias, with or without ":tag", or the id or a name
	// of a snapshot.
	Template string
	// Timeout until the sandbox is killed; must be positive.
	Timeout       time.Duration
	Metadata      map[string]string
	Env           map[string]string
	Secure        bool
	AllowInternet *bool
	// AllowPublicTraffic nil or true: ports are open to all who reach the proxy.
	AllowPublicTraffic *bool
	OnTimeout          OnTimeout
	AutoResume         bool
	KeyID              string
}

// ForkRequest asks for copies of a running sandbox.
type ForkRequest struct {
	// Count is how many, 1 to MaxForks.
	Count int
	// Timeout of each child; must be positive.
	Timeout time.Duration
	KeyID   string
}

// MaxForks is the most children of one fork, as in E2B.
const MaxForks = 100

// ForkResult is one child, or why there is none.
type ForkResult struct {
	Sandbox Sandbox
	Err     error
}

// Snapshot is a saved state that sandboxes can be created from. It outlives the
// sandbox that it was taken of.
type Snapshot struct {
	// ID is 20 characters of [a-z0-9]; it can be used as a template id.
	ID string
	// Name is optional and unique: a template's name, and a tag behind a colon unless
	// it is the default one. Taking another snapshot under a name moves it.
	Name string
	// SandboxID is what it was taken of.
	SandboxID string
	CreatedAt time.Time
	Bytes     int64
	KeyID     string
}

// SnapshotFilter selects snapshots; they come newest first, ties by id.
type SnapshotFilter struct {
	SandboxID string
	// Name selects by name or id. With AllTags it selects all tags of the name, which
	// has none itself.
	Name    string
	AllTags bool
	// After continues behind this snapshot; StartedAt is its CreatedAt.
	After *Cursor
	Limit int
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
// follow-ups can be started from it, each a sandbox of its own.
type Continuation struct {
	// ID is the id of the snapshot that holds it.
	ID        string
	SandboxID string
	Reason    ContinuationReason
	CreatedAt time.Time
	Bytes     int64
}

// ListFilter selects sandboxes. They come newest StartedAt first (ties by id,
// ascending), or the other way round with Ascending.
type ListFilter struct {
	// States, as Shown; empty means running and paused.
	States []State
	// Metadata pairs must all match.
	Metadata map[string]string
	// Template is an id or alias; empty is any.
	Template string
	// StartedAfter is inclusive, to the millisecond; zero is any.
	StartedAfter time.Time
	Ascending    bool
	// After continues behind this sandbox of the order; nil starts at its head.
	After *Cursor
	// Limit is the most sandboxes returned; 0 is all.
	Limit int
}

// Cursor is a place in the list order.
type Cursor struct {
	StartedAt time.Time
	ID        string
}

// Metric is one measurement of a sandbox.
type Metric struct {
	Time       time.Time
	CPUUsedPct float64
	CPUCount   int
	MemUsed    int64
	MemTotal   int64
	MemCache   int64
	DiskUsed   int64
	DiskTotal  int64
}

// Template is a prepared template.
type Template struct {
	ID        string
	Aliases   []string
	BuildID   string
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
	CreatedAt time.Time
	// SpawnCount is how many sandboxes were created from it, of all its builds, and
	// LastSpawnedAt when the last was; zero if none was.
	SpawnCount    int64
	LastSpawnedAt time.Time
}

// The error classes of the runtime, for errors.Is. The e2b package maps them
// to status codes in one place.
var (
	ErrSandboxNotFound  = errors.New("sandbox not found")
	ErrTemplateNotFound = errors.New("template not found")
	ErrSnapshotNotFound = errors.New("snapshot not found")
	ErrInvalid          = errors.New("invalid argument")
	// ErrConflict: the sandbox is in a state that does not allow the call now.
	ErrConflict = errors.New("conflict")
	// ErrNotRunning: killed, or paused without auto-resume.
	ErrNotRunning = errors.New("sandbox is not running")
	// ErrNotRestorable: what the sandbox would be made from is damaged, gone, or
	// does not fit this machine or this version of the program. It is kept.
	ErrNotRestorable = errors.New("cannot be restored on this machine")
	// ErrPortClosed: the sandbox runs but nothing listens on the port.
	ErrPortClosed = errors.New("port is not open")
	// ErrCapacity: this machine cannot take the sandbox now. See CapacityError.
	ErrCapacity = errors.New("not enough capacity")
	// ErrDiskFull: the host's disk has no room for what the call has to write.
	ErrDiskFull = errors.New("the disk of this machine is full")
	// ErrUnsupported: this build or driver cannot do it.
	ErrUnsupported = errors.New("not supported")
	// ErrLacking: the daemon is short of something that it needs for itself, such
	// as file descriptors. It says nothing about the sandbox.
	ErrLacking = errors.New("the server is short of resources")
	// ErrNoAnswer: the agent in the sandbox did not answer in time. A sandbox that
	// was to be resumed is paused as before.
	ErrNoAnswer = errors.New("the agent in the sandbox does not answer")
	// ErrOutOfMemory: the sandbox, or the host, lacks the memory for the call, or
	// the sandbox ended for it. See OutOfMemoryError.
	ErrOutOfMemory = errors.New("out of memory")
	// ErrUnavailable: the daemon is starting or shutting down.
	ErrUnavailable = errors.New("unavailable")
)

// HostChangedError is the ErrNotRestorable of programs that have a file of the
// host open which was changed since.
type HostChangedError = vm.HostChangedError

// ResourceShare is the resource of a request for more than a key, or all of them,
// may have: see Shares. The whole text is for the client.
const ResourceShare = "share"

// CapacityError says which resource did not suffice.
type CapacityError struct {
	// Resource is "cpu", "memory", "disk", "sandboxes", "queue" (too many wait
	// already), "wait" (it waited as long as a request may), "pressure" (the host
	// is short of memory or disk and takes nothing new) or ResourceShare.
	Resource  string
	Requested int64
	Available int64
	// RetryAfter is 0 when waiting cannot help.
	RetryAfter time.Duration
	// Detail says more; it may be empty.
	Detail string
}

func (e *CapacityError) Error() string {
	text := "not enough " + e.Resource + " on this machine"
	switch e.Resource {
	case ResourceShare:
		return e.Detail
	case "queue":
		text = "too many requests wait for this machine"
	case "wait":
		text = "this machine had no room in time"
	case "pressure":
		text = "this machine is under pressure and takes nothing new"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap makes it an ErrCapacity.
func (e *CapacityError) Unwrap() error { return ErrCapacity }

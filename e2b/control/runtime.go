package control

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/e2b/control/events"
	"github.com/rundlet/rundlet/e2b/control/templates"
	"github.com/rundlet/rundlet/sandbox"
)

// Runtime is the part of a runtime that the control plane uses. All methods are safe for
// concurrent use and return the error classes of package sandbox.
type Runtime interface {
	templates.Runtime
	events.Runtime
	// Create returns when the sandbox answers, or with an error and nothing
	// left behind.
	Create(ctx context.Context, req sandbox.CreateRequest) (sandbox.Sandbox, error)
	// Connect extends the timeout to at least now+timeout, never shortens it,
	// and resumes a paused sandbox (resumed reports that it did).
	Connect(ctx context.Context, id string, timeout time.Duration) (sb sandbox.Sandbox, resumed bool, err error)
	// Reboot is Connect that leaves out the memory of a paused sandbox.
	Reboot(ctx context.Context, id string, timeout time.Duration) (sb sandbox.Sandbox, resumed bool, err error)
	// Pause saves the sandbox, with its memory or only its files, and ends its
	// machine. ErrConflict if it is paused already.
	Pause(ctx context.Context, id string, memory bool) error
	// Fork makes copies of a sandbox, which stays as it is. The results are as
	// many as were asked for; the error says that there is none at all.
	Fork(ctx context.Context, id string, req sandbox.ForkRequest) ([]sandbox.ForkResult, error)
	// Snapshot saves a running sandbox that keeps running, or a paused one.
	Snapshot(ctx context.Context, id, name, keyID string) (sandbox.Snapshot, error)
	// Capture saves a session for follow-ups: a paused sandbox is stopped, a
	// running one idle or exited.
	Capture(ctx context.Context, id string, reason sandbox.ContinuationReason, keyID string) (sandbox.Continuation, error)
	// FollowUp starts a new sandbox from a continuation;
	// ErrSnapshotNotFound. The template of the request is ignored.
	FollowUp(ctx context.Context, continuationID string, req sandbox.CreateRequest) (sandbox.Sandbox, error)
	// Get returns running and paused sandboxes and those between the two;
	// ErrNotFound for others.
	Get(ctx context.Context, id string) (sandbox.Sandbox, error)
	List(ctx context.Context, f sandbox.ListFilter) ([]sandbox.Sandbox, error)
	// CountRunning counts the running sandboxes that match on all pages, whatever
	// the states, the cursor and the limit of the filter are.
	CountRunning(ctx context.Context, f sandbox.ListFilter) (int, error)
	// Kill returns when nothing is left of the sandbox. ErrNotFound if
	// it is not there (any more).
	Kill(ctx context.Context, id string) error
	// SetTimeout ends the sandbox at now+timeout, earlier or later than before.
	SetTimeout(ctx context.Context, id string, timeout time.Duration) error
	// Extend is SetTimeout that never shortens.
	Extend(ctx context.Context, id string, timeout time.Duration) error
	// Refused returns what a sandbox was refused, the latest first.
	Refused(ctx context.Context, id string) ([]sandbox.Refusal, error)
	// Traffic returns what a sandbox sent, received and reached since it was created or resumed.
	Traffic(ctx context.Context, id string) (sandbox.Traffic, error)
	// SetEgress replaces the rules of a running sandbox for what it may reach, and
	// whether it has internet; ErrConflict if it does not run.
	SetEgress(ctx context.Context, id string, internet *bool, rules sandbox.Egress) error
	// BeginSync begins the sync of a checkout again that has failed, CompleteSync opens the gate of a sandbox, and FailSync keeps
	// it closed, for a reason. ErrConflict if the sandbox does not run or has no gate.
	BeginSync(ctx context.Context, id string) error
	CompleteSync(ctx context.Context, id string) error
	FailSync(ctx context.Context, id, reason string) error
}

// Builds is the part of a runtime that builds templates.
type Builds = templates.Builds

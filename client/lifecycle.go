package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// Pause saves a sandbox, with its memory or only its files, and ends its
// machine. An *Error of code 409 says that it is paused already.
func (a API) Pause(ctx context.Context, id string, memory bool) error {
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/pause", openapi.SandboxPause{Memory: &memory}, nil)
	return err
}

// Connect makes sure that a sandbox runs for at least timeout from now, and
// reports whether it had to be resumed.
func (a API) Connect(ctx context.Context, id string, timeout time.Duration) (sb Sandbox, resumed bool, err error) {
	resp, err := a.call(ctx, http.MethodPost, "/v2"+sandboxPath(id)+"/connect", openapi.ConnectSandbox{Timeout: seconds(timeout)}, &sb)
	if err != nil {
		return sb, false, err
	}
	return sb, resp.StatusCode == http.StatusCreated, nil
}

// SetTimeout moves the end of a sandbox to timeout from now, earlier or later.
func (a API) SetTimeout(ctx context.Context, id string, timeout time.Duration) error {
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/timeout", openapi.SandboxTimeout{Timeout: seconds(timeout)}, nil)
	return err
}

// ForkResult is one child, or why there is none.
type ForkResult struct {
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	Error   *Error   `json:"error,omitempty"`
}

// Fork makes count copies of a running sandbox, each with a separate timeout.
func (a API) Fork(ctx context.Context, id string, count int, timeout time.Duration) ([]ForkResult, error) {
	var results []ForkResult
	body := openapi.SandboxFork{Count: number(count), Timeout: seconds(timeout)}
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/fork", body, &results)
	return results, err
}

// Snapshot is a saved state that sandboxes can be created from.
type Snapshot struct {
	// ID can be used as a template.
	ID    string   `json:"snapshotID"`
	Names []string `json:"names"`
}

// Snapshot saves a sandbox under a name, which may be empty.
func (a API) Snapshot(ctx context.Context, id, name string) (Snapshot, error) {
	var s Snapshot
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/snapshots", openapi.NewSnapshot{Name: name}, &s)
	return s, err
}

// Snapshots returns all snapshots, newest first.
func (a API) Snapshots(ctx context.Context) ([]Snapshot, error) {
	return pages[Snapshot](ctx, a, "/snapshots")
}

// DeleteSnapshot removes a snapshot, or a continuation, by id or name.
func (a API) DeleteSnapshot(ctx context.Context, idOrName string) error {
	_, err := a.call(ctx, http.MethodDelete, "/templates/"+url.PathEscape(idOrName), nil, nil)
	return err
}

// Continuation is a session that was captured for follow-ups.
type Continuation struct {
	ID        string `json:"snapshotID"`
	SandboxID string `json:"sandboxID"`
	// Reason is "stopped", "idle" or "exited".
	Reason    string    `json:"reason"`
	CreatedAt time.Time `json:"createdAt"`
	Bytes     int64     `json:"bytes"`
}

// FollowUp is what a sandbox follows up on.
type FollowUp struct {
	// ID is that of the continuation.
	ID     string `json:"snapshotID"`
	Reason string `json:"reason"`
}

// Capture saves a session: a paused sandbox as "stopped", a running one as
// "idle" or "exited". It stays as it is.
func (a API) Capture(ctx context.Context, id, reason string) (Continuation, error) {
	var c Continuation
	_, err := a.call(ctx, http.MethodPost, sandboxPath(id)+"/continuations", openapi.NewContinuation{Reason: openapi.ContinuationReason(reason)}, &c)
	return c, err
}

// FollowUp starts a new sandbox from a continuation. The template of o
// does not matter.
func (a API) FollowUp(ctx context.Context, continuationID string, o CreateOptions) (Sandbox, error) {
	var sb Sandbox
	body := struct {
		openapi.NewFollowUp
		CreateRequest newSandbox `json:"createRequest"`
	}{openapi.NewFollowUp{SnapshotID: continuationID}, o.body()}
	_, err := a.call(ctx, http.MethodPost, "/sandboxes/followups", body, &sb)
	return sb, err
}

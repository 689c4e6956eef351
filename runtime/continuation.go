package runtime

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Capture saves a session for follow-ups. The reason says in which state it is:
// ReasonStopped is for a paused sandbox, the others for a running one. The
// session itself goes on, or stays paused, and can be killed.
func (r *Runtime) Capture(ctx context.Context, id string, reason sandbox.ContinuationReason, keyID string) (sandbox.Continuation, error) {
	switch reason {
	case sandbox.ReasonStopped, sandbox.ReasonIdle, sandbox.ReasonExited:
	default:
		return sandbox.Continuation{}, fmt.Errorf("%w: reason %.40q: use stopped, idle or exited", sandbox.ErrInvalid, reason)
	}
	sb, err := r.Settled(ctx, id)
	if err != nil {
		return sandbox.Continuation{}, err
	}
	if paused := sb.State == sandbox.StatePaused; paused != (reason == sandbox.ReasonStopped) {
		return sandbox.Continuation{}, fmt.Errorf("capture sandbox %s: %w: it is %s, which does not go with the reason %s",
			id, sandbox.ErrConflict, sb.State, reason)
	}
	claim, err := r.capture(ctx, id, func(claim *store.Snapshot) {
		claim.Kind, claim.Reason, claim.KeyID = kindContinuation, string(reason), keyID
	})
	if err != nil {
		return sandbox.Continuation{}, fmt.Errorf("capture sandbox %s: %w", id, err)
	}
	return viewContinuation(claim), nil
}

// FollowUp starts a sandbox of its own from a continuation. It is no resume: the
// session is not gone on with, and the continuation can be followed up on again.
// The request's template is ignored.
func (r *Runtime) FollowUp(ctx context.Context, continuationID string, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := r.validate(req); err != nil {
		return sandbox.Sandbox{}, err
	}
	claim, err := r.listed(ctx, continuationID, kindContinuation)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	follows := viewContinuation(claim)
	sb, err := r.create(ctx, req, originOfSnapshot(claim), &follows)
	return sb, classify(err)
}

func viewContinuation(row store.Snapshot) sandbox.Continuation {
	return sandbox.Continuation{ID: row.ID, SandboxID: row.Source, Reason: sandbox.ContinuationReason(row.Reason),
		CreatedAt: row.CreatedAt, Bytes: row.Bytes}
}

package runtime

import (
	"context"
	"fmt"

	"github.com/rundlet/rundlet/runtime/claim"
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
		return sandbox.Continuation{}, fmt.Errorf("capture sandbox %s: %w: it is %s, which does not match the reason %s",
			id, sandbox.ErrConflict, sb.State, reason)
	}
	snap, err := capture(ctx, r, id, func(snap *store.Snapshot) {
		snap.Kind, snap.Reason, snap.KeyID = claim.KindContinuation, string(reason), keyID
	})
	if err != nil {
		return sandbox.Continuation{}, fmt.Errorf("capture sandbox %s: %w", id, err)
	}
	return viewContinuation(snap), nil
}

// FollowUp starts a new sandbox from a continuation. It is not a resume: the
// session is not gone on with, and the continuation can be followed up on again.
// The request's template is ignored.
func (r *Runtime) FollowUp(ctx context.Context, continuationID string, req sandbox.CreateRequest) (sandbox.Sandbox, error) {
	if err := r.starter.Validate(ctx, req); err != nil {
		return sandbox.Sandbox{}, err
	}
	snap, err := r.claims.Find(ctx, continuationID, claim.KindContinuation)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	follows := viewContinuation(snap)
	sb, err := r.starter.Create(ctx, req, claim.OfSnapshot(snap), &follows)
	return outcome(r, sb, err)
}

func viewContinuation(row store.Snapshot) sandbox.Continuation {
	return sandbox.Continuation{ID: row.ID, SandboxID: row.Source, Reason: sandbox.ContinuationReason(row.Reason),
		CreatedAt: row.CreatedAt, Bytes: row.Bytes}
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

const (
	// leastWake is the least timeout of a sandbox that traffic resumed, as in E2B.
	leastWake = 5 * time.Minute
)

// Connect makes sure that a sandbox runs for at least timeout from now: it
// resumes a paused one, and never shortens the timeout of a running one.
func (r *Runtime) Connect(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	if err := r.starter.ValidateTimeout(timeout); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	for resumed := false; ; {
		waked, err := awake(ctx, r, id, timeout)
		if err != nil {
			return sandbox.Sandbox{}, false, err
		}
		resumed = resumed || waked
		err = r.ExtendResumed(ctx, id, timeout, waked)
		if err == nil {
			sb, err := r.Get(ctx, id)
			return sb, resumed, err
		}
		// It was paused in between, by its timeout or by another client.
		if !errors.Is(err, sandbox.ErrConflict) || ctx.Err() != nil {
			return sandbox.Sandbox{}, false, err
		}
	}
}

// Wake waits for a pause or a resume that is under way. Then it returns a running
// sandbox as it is, and resumes a paused one that is to be resumed by traffic and
// has its memory. ErrNotRunning for others. Calls at the same time share one
// resume.
func (r *Runtime) Wake(ctx context.Context, id string) (sandbox.Sandbox, error) {
	for {
		view, err := r.Settled(ctx, id)
		if err != nil || view.State == sandbox.StateRunning {
			return view, err
		}
		if !view.AutoResume || view.FilesystemOnly {
			return sandbox.Sandbox{}, fmt.Errorf("sandbox %s is paused: %w", id, sandbox.ErrNotRunning)
		}
		sb, err := r.live.Serving(ctx, id)
		if err != nil {
			return sandbox.Sandbox{}, err
		}
		if err := sb.MayWake(time.Now()); err != nil {
			return sandbox.Sandbox{}, fmt.Errorf("resume sandbox %s: %w", id, err)
		}
		_, err = awake(ctx, r, id, wakeTimeout(sb.Row()))
		if err == nil {
			return r.Get(ctx, id)
		}
		// It was paused in between: wait for the outcome again.
		if !errors.Is(err, sandbox.ErrConflict) {
			return sandbox.Sandbox{}, err
		}
	}
}

// wakeTimeout is the timeout of a sandbox that traffic resumed, as in E2B: the one of
// its create, if that is more than the least.
func wakeTimeout(row store.Sandbox) time.Duration { return max(leastWake, row.Timeout) }

// Settled waits until the sandbox is not on its way between two states, and
// returns it running or paused, as it is then. ErrSandboxNotFound if it ended.
func (r *reads) Settled(ctx context.Context, id string) (sandbox.Sandbox, error) {
	for {
		view, err := r.Get(ctx, id)
		if err != nil || !view.State.Moving() {
			return view, err
		}
		sb, err := r.live.Serving(ctx, id)
		if err != nil {
			return sandbox.Sandbox{}, err
		}
		if err := sb.LockSettled(ctx); err != nil {
			return sandbox.Sandbox{}, fmt.Errorf("wait for sandbox %s: %w", id, err)
		}
		sb.Life.Unlock()
	}
}

// awake returns when the sandbox runs, and whether it had to be resumed.
func awake(ctx context.Context, r *Runtime, id string, timeout time.Duration) (resumed bool, err error) {
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return false, err
	}
	if sb.State() == sandbox.StateRunning {
		return false, nil
	}
	f := r.starter.Resume(sb, timeout)
	if f == nil {
		return false, fmt.Errorf("resume sandbox %s: %w: the daemon is shutting down", id, sandbox.ErrUnavailable)
	}
	select {
	case <-f.Done:
		return true, f.Err
	case <-ctx.Done():
		return false, fmt.Errorf("resume sandbox %s: %w", id, context.Cause(ctx))
	}
}

package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

const (
	// undoTimeout bounds one attempt to undo a pause: to continue the machine, and
	// to hear its agent.
	undoTimeout = background.CleanupTimeout
	// reasonTimeout is how long the reason of a machine's end may come after the
	// failure that it caused.
	reasonTimeout = 2 * time.Second
)

// undoPause lets a sandbox run on whose pause failed before it was saved. It can
// be repeated. An error means that its machine could be neither continued nor
// found dead: the sandbox is pausing still, and nothing of it is lost.
func (r *Runtime) undoPause(sb *handle) error {
	if sb.condemned() {
		return nil // The kill that broke the pause off does the rest.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), undoTimeout)
	defer cancel()
	ended, err := r.goOn(ctx, sb.id)
	if err != nil {
		return fmt.Errorf("continue the machine of %s after a pause that failed: %w", sb.id, err)
	}
	if ended != "" {
		// The claim goes with the sandbox. What cannot be ended now is retried.
		if err := r.terminateLocked(ctx, sb, ended); err != nil {
			r.log.Warn("sandbox cannot be ended yet", "sandbox_id", sb.id, "error", err)
		}
		return nil
	}
	snap := sb.snapshot().SnapshotID
	row := sb.update(func(row *store.Sandbox) {
		row.State, row.SnapshotID, row.Deadline = sandbox.StateRunning, "", time.Time{}
	})
	// If this is not written, the next start finds a machine that runs and a
	// snapshot that is not complete, and comes to the same.
	if err := r.cfg.Store.PutSandbox(ctx, row); err != nil {
		r.log.Warn("could not write that a pause was undone", "sandbox_id", sb.id, "error", err)
	}
	if err := r.claims.Drop(ctx, snap); err != nil {
		r.log.Warn("could not remove what a failed pause saved", "sandbox_id", sb.id, "error", err)
	}
	sb.arm(expireRetry, func() { r.expire(sb) })
	return nil
}

// goOn continues a machine that may be frozen, and asks its guest. It trusts no
// record of whether the machine is frozen: it tells it to run in any case. It
// returns why the machine ended, if it did, and an error if it cannot say
// whether the machine goes on. A guest that does not answer is no error: the
// machine may be busy, and the heartbeat gives it the time that it needs.
func (r *Runtime) goOn(ctx context.Context, id string) (ended string, err error) {
	startErr := r.cfg.Driver.Start(ctx, id)
	if startErr == nil || errors.Is(startErr, vm.ErrInvalidTransition) {
		if r.answersOrEnds(ctx, id) {
			return "", nil
		}
	}
	r.awaitEnd(ctx, id, reasonTimeout)
	view, ok, err := r.cfg.Driver.Get(ctx, id)
	switch {
	case err != nil:
		return "", errors.Join(startErr, err)
	case !ok || view.Status == vm.StatusDestroyed:
		return "lost: its machine ended while it was being paused", nil
	case view.ExitReason != "":
		return view.ExitReason, nil
	case startErr != nil && !errors.Is(startErr, vm.ErrInvalidTransition):
		return "", startErr
	case view.Status != vm.StatusRunning:
		return "", cmp.Or(startErr, fmt.Errorf("it is %s", view.Status))
	}
	r.log.Warn("a sandbox whose pause was undone does not answer", "sandbox_id", id)
	return "", nil
}

// answersOrEnds waits until the agent answers, and reports whether it did in
// time. It stops when the machine ends.
func (r *Runtime) answersOrEnds(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		go func() {
			_, _ = waiter.Wait(ctx, id)
			cancel()
		}()
	}
	return r.awaitAgent(ctx, id) == nil
}

// awaitEnd gives the driver time to learn that, and why, a machine ended.
func (r *Runtime) awaitEnd(ctx context.Context, id string, bound time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		_, _ = waiter.Wait(ctx, id)
	}
}

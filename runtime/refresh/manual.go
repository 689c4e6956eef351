package refresh

import (
	"context"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
)

// errByHand ends a sync whose outcome a client decides.
var errByHand = errors.New("a client decided how the sync ends")

// CompleteSync opens the gate of a running sandbox: its checkout is good as it is. A sync that is under way is ended first, in
// the guest too. sandbox.ErrConflict if there is no gate.
func (r *Refresher) CompleteSync(ctx context.Context, id string) error {
	return r.byHand(ctx, id, func(ctx context.Context, sb *live.Sandbox) error {
		if sb.Row().Freshness.Phase == freshness.Ready {
			return nil
		}
		if err := r.halt(ctx, sb); err != nil {
			return err
		}
		return r.put(ctx, sb, freshness.Gate.Complete)
	})
}

// FailSync keeps the gate of a running sandbox closed, with a reason, and ends a sync that is under way. sandbox.ErrConflict if it is open,
// or has failed already.
func (r *Refresher) FailSync(ctx context.Context, id, reason string) error {
	return r.byHand(ctx, id, func(ctx context.Context, sb *live.Sandbox) error {
		if sb.Row().Freshness.Phase != freshness.Ready {
			if err := r.halt(ctx, sb); err != nil {
				return err
			}
		}
		return r.put(ctx, sb, func(g freshness.Gate) (freshness.Gate, error) { return g.Fail(reason) })
	})
}

// BeginSync begins a sync again that has failed. sandbox.ErrConflict if it has not, since a sync resets the checkout, or if the
// sandbox has no checkout that is known.
func (r *Refresher) BeginSync(ctx context.Context, id string) error {
	return r.byHand(ctx, id, func(ctx context.Context, sb *live.Sandbox) error {
		if sb.Row().Freshness.Checkout == "" {
			return fmt.Errorf("%w: it has no checkout that the server knows", sandbox.ErrConflict)
		}
		// The one that failed may not have returned yet, and it would be taken for one that is under way.
		if err := r.put(ctx, sb, freshness.Gate.Begin); err != nil {
			return err
		}
		if err := sb.Syncs.Stop(ctx, errByHand); err != nil {
			return err
		}
		r.Begin(sb)
		return nil
	})
}

// halt ends the sync that is under way, and what it runs in the guest.
func (r *Refresher) halt(ctx context.Context, sb *live.Sandbox) error {
	if err := sb.Syncs.Stop(ctx, errByHand); err != nil {
		return err
	}
	if f := sb.Row().Freshness; f.Checkout == "" || f.Phase == freshness.Restored {
		return nil
	}
	if err := r.stopGuest(ctx, sb.ID); err != nil {
		return fmt.Errorf("end the sync: %w", err)
	}
	return nil
}

// byHand calls do for a sandbox that runs and has a gate, while nothing else changes it.
func (r *Refresher) byHand(ctx context.Context, id string, do func(context.Context, *live.Sandbox) error) error {
	sb, err := r.cfg.Live.Serving(ctx, id)
	if err != nil {
		return err
	}
	if err := sb.LockSettled(ctx); err != nil {
		return fmt.Errorf("freshness of %s: %w", id, err)
	}
	defer sb.Life.Unlock()
	if err := live.StateError(sb, sb.State()); err != nil {
		return err
	}
	if sb.Row().Freshness.Empty() {
		return fmt.Errorf("freshness of %s: %w: it has no checkout that is to be up to date", id, sandbox.ErrConflict)
	}
	// What has begun is done to its end: a sync that was ended, and nothing else, would leave the gate as it is for good.
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	if err = do(ctx, sb); err != nil {
		r.Begin(sb) // If it ended the sync that the gate waits for.
	}
	if errors.Is(err, freshness.ErrPhase) {
		err = fmt.Errorf("%w: %w", sandbox.ErrConflict, err)
	}
	if err != nil {
		return fmt.Errorf("freshness of %s: %w", id, fault.Classify(err))
	}
	return nil
}

// AwaitSync returns when the gate of a sandbox is open or has failed, or when the sandbox does not run; an error if ctx
// ends before.
func (r *Refresher) AwaitSync(ctx context.Context, id string) error {
	for {
		sb, err := r.cfg.Live.Serving(ctx, id)
		if err != nil {
			return err
		}
		moved := sb.Moves.Next()
		if sb.Row().Freshness.Decided() || sb.State() != sandbox.StateRunning {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

package fakeruntime

import (
	"context"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/sandbox"
)

// AwaitSync implements e2b.RuntimeAdapter.
func (f *Runtime) AwaitSync(ctx context.Context, id string) error {
	for {
		f.mu.Lock()
		changed := f.changed
		if changed == nil {
			changed = make(chan struct{})
			f.changed = changed
		}
		f.mu.Unlock()
		sb, err := f.Get(ctx, id)
		if err != nil || sb.Freshness.Decided() || sb.State != sandbox.StateRunning {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gate moves the gate of a running sandbox that has one.
func gate(ctx context.Context, f *Runtime, id string, move func(*sandbox.Freshness) error) error {
	sb, err := f.Get(ctx, id)
	if err != nil {
		return err
	}
	fresh := sb.Freshness
	if sb.State != sandbox.StateRunning || fresh.Empty() {
		return fmt.Errorf("freshness: %w", sandbox.ErrConflict)
	}
	if err := move(&fresh); err != nil {
		return fmt.Errorf("freshness: %w: %w", sandbox.ErrConflict, err)
	}
	f.Edit(id, func(sb *sandbox.Sandbox) { sb.Freshness = fresh })
	return nil
}

// BeginSync implements e2b.RuntimeAdapter.
func (f *Runtime) BeginSync(ctx context.Context, id string) error {
	return gate(ctx, f, id, func(fresh *sandbox.Freshness) error {
		if fresh.Phase != sandbox.FreshnessFailed {
			return errors.New("it has not failed")
		}
		fresh.Phase, fresh.Reason = sandbox.FreshnessSyncing, ""
		return nil
	})
}

// CompleteSync implements e2b.RuntimeAdapter.
func (f *Runtime) CompleteSync(ctx context.Context, id string) error {
	return gate(ctx, f, id, func(fresh *sandbox.Freshness) error {
		fresh.Phase, fresh.Reason = sandbox.FreshnessReady, ""
		return nil
	})
}

// FailSync implements e2b.RuntimeAdapter.
func (f *Runtime) FailSync(ctx context.Context, id, reason string) error {
	return gate(ctx, f, id, func(fresh *sandbox.Freshness) error {
		if fresh.Open() || fresh.Phase == sandbox.FreshnessFailed {
			return errors.New("it is decided")
		}
		fresh.Phase, fresh.Reason = sandbox.FreshnessFailed, reason
		return nil
	})
}

package template

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// build is one preparation of the base template, shared by all its waiters.
type build struct {
	done chan struct{}
	tpl  store.Template
	err  error
	host string // Config.HostStamp from before it
}

// Prepare makes the base template ready, so that the first create need not.
func (t *Templates) Prepare(ctx context.Context) error {
	_, err := t.Base(ctx)
	return err
}

// BaseSpec returns the spec by which a driver restores the prepared base, apart
// from the state that each sandbox adds. It is for measuring.
func (t *Templates) BaseSpec(ctx context.Context) (vm.Spec, error) {
	tpl, err := t.Base(ctx)
	if err != nil {
		return vm.Spec{}, err
	}
	return claim.OfTemplate(tpl).MachineSpec("", netip.Addr{}, "")
}

// Base returns the prepared base. The first call of a process checks that the
// snapshot still fits the host and builds it if not; all callers meanwhile wait
// for the same build, which goes on when one of them gives up.
func (t *Templates) Base(ctx context.Context) (store.Template, error) {
	t.mu.Lock()
	b := t.building
	if b == nil {
		b = &build{done: make(chan struct{})}
		if !t.cfg.Background.Go(func() {
			if t.cfg.HostStamp != nil {
				b.host = t.cfg.HostStamp()
			}
			b.tpl, b.err = t.build(t.cfg.Background.Context())
			if b.err != nil {
				t.drop(b) // the next create tries again
			} else {
				t.keep(b)
			}
			close(b.done)
		}) {
			t.mu.Unlock()
			return store.Template{}, fmt.Errorf("prepare the base template: %w: the daemon is shutting down", sandbox.ErrUnavailable)
		}
		t.building = b
	}
	t.mu.Unlock()
	select {
	case <-b.done:
		return b.tpl, b.err
	case <-ctx.Done():
		return store.Template{}, fmt.Errorf("wait for the base template: %w", ctx.Err())
	}
}

// KeepBase gives the pool what machines of the base are made from: now if it has been prepared, when it is done if it is being
// prepared, and otherwise its preparation does.
func (t *Templates) KeepBase() {
	t.mu.Lock()
	b := t.building
	t.mu.Unlock()
	switch {
	case b == nil:
	case b.ready():
		t.keep(b)
	default: // It may have been given to the pool already, before that had a target for it.
		t.cfg.Background.Go(func() {
			if <-b.done; b.err == nil {
				t.keep(b)
			}
		})
	}
}

// keep gives a build to the pool, unless there is another one by now. Calls take turns: the last one has the latest build.
func (t *Templates) keep(b *build) {
	t.keeping.Lock()
	defer t.keeping.Unlock()
	t.mu.Lock()
	current := t.building == b
	t.mu.Unlock()
	if current {
		t.cfg.Keep(claim.OfTemplate(b.tpl))
	}
}

func (t *Templates) drop(b *build) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.building == b {
		t.building = nil
	}
}

// Stale forgets a base whose snapshot turned out to be unusable, and
// reports whether err means that.
func (t *Templates) Stale(ctx context.Context, from claim.Origin, err error) bool {
	if !errors.Is(err, vm.ErrIncompatible) && !errors.Is(err, vm.ErrNotFound) {
		return false
	}
	tpl, found, dbErr := t.Stored(ctx)
	if dbErr != nil || !found || from.ID != tpl.ID {
		return false // a snapshot cannot be made anew
	}
	t.cfg.Log.Warn("base snapshot cannot be restored; rebuilding it", "error", err)
	if tpl.BuildID == from.BuildID && tpl.Stamp != "" && t.distrust(ctx, from) != nil {
		return false
	}
	t.mu.Lock()
	b := t.building
	t.mu.Unlock()
	if b != nil {
		<-b.done
		if b.tpl.BuildID == from.BuildID {
			t.drop(b)
		}
	}
	return true
}

// distrust marks a build in the store as one to be made anew. It reads the row again
// under the lock: a build, in this process or in another, may be replacing it.
func (t *Templates) distrust(ctx context.Context, from claim.Origin) error {
	unlock, err := t.cfg.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	tpl, found, err := t.Stored(ctx)
	if err != nil || !found || tpl.BuildID != from.BuildID {
		return err
	}
	tpl.Stamp = ""
	return t.cfg.Store.Templates.Put(ctx, &tpl)
}

// Unusable prepares the base anew if a warm machine could not be made from it
// because its snapshot cannot be restored.
func (t *Templates) Unusable(from claim.Origin, err error) {
	if t.Stale(t.cfg.Background.Context(), from, err) {
		t.cfg.Background.Go(func() { _ = t.Prepare(t.cfg.Background.Context()) }) // It notifies the pool when it is done.
	}
}

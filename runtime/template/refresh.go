package template

import (
	"context"
	"time"
)

// HostInterval is how often a daemon checks whether the host still has the files
// that the base was made of.
const HostInterval = 10 * time.Second

// Refresh builds the base anew when the host changed, while sandboxes are
// still made from the former one: its programs are those that it has open, and
// the driver checks these at each restore. It waits until the host looks the same
// twice: a package manager changes many files in a row. One call at a time.
func (t *Templates) Refresh(ctx context.Context) {
	if t.cfg.HostStamp == nil {
		return
	}
	t.mu.Lock()
	b := t.building
	t.mu.Unlock()
	if b == nil || !b.ready() {
		return
	}
	now, before := t.cfg.HostStamp(), t.host
	t.host = now
	if now == b.host || now != before {
		return
	}
	next := &build{done: make(chan struct{}), host: now}
	next.tpl, next.err = t.build(ctx)
	if next.err != nil {
		t.cfg.Log.Warn("could not refresh the base template yet", "error", next.err)
		return
	}
	close(next.done)
	t.mu.Lock()
	current := t.building == b
	if current {
		t.building = next
	}
	t.mu.Unlock()
	if current && next.tpl.BuildID != b.tpl.BuildID {
		t.cfg.Log.Info("base template refreshed: what it is made of has changed", "build_id", next.tpl.BuildID)
		t.keep(next)
	}
}

// ready reports whether a build ended well.
func (b *build) ready() bool {
	select {
	case <-b.done:
		return b.err == nil
	default:
		return false
	}
}

package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
)

// hostLook is how often a daemon looks whether the host still has what the base
// was made of.
const hostLook = 10 * time.Second

// refreshBase builds the base anew when the host changed, while sandboxes are
// still made from the former one: its programs are those that it has open, and
// the driver checks these at each restore. It waits until the host looks the same
// twice: a package manager changes many files in a row. One call at a time.
func (r *Runtime) refreshBase(ctx context.Context) {
	if r.cfg.HostStamp == nil {
		return
	}
	r.mu.Lock()
	b := r.building
	r.mu.Unlock()
	if b == nil || !b.ready() {
		return
	}
	now, before := r.cfg.HostStamp(), r.sup.host
	r.sup.host = now
	if now == b.host || now != before {
		return
	}
	next := &build{done: make(chan struct{}), host: now}
	next.tpl, next.err = r.prepareBase(ctx)
	if next.err != nil {
		r.log.Warn("base template cannot be refreshed yet", "error", next.err)
		return
	}
	close(next.done)
	r.mu.Lock()
	current := r.building == b
	if current {
		r.building = next
	}
	r.mu.Unlock()
	if current && next.tpl.BuildID != b.tpl.BuildID {
		r.log.Info("base template refreshed: the host changed", "build_id", next.tpl.BuildID)
		r.pool.Keep(claim.OfTemplate(next.tpl))
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

package network

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/gate"
	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/tracked"
)

// watcher looks for what other programs on the machine have changed of the network,
// when the kernel reports a change and each second, and repairs it. Safe for
// concurrent use.
type watcher struct {
	guests   netip.Prefix
	life     *gate.Gate
	router   *router
	rules    enforcer
	uplink   *uplink
	pool     *pool
	repairs  *repairs
	tracking *tracked.Flows

	mu sync.Mutex // Held while the whole network is looked at.
}

// self makes changes that need no look.
var self = os.Getpid()

// watch looks after the network until ctx ends or the kernel's reports do. It
// can be called again.
func (w *watcher) watch(ctx context.Context) error {
	of := changes.Source{Router: w.router.ns, Host: w.uplink.host, Self: self, ChangedBy: w.repairs.changedBy}
	return changes.Watch(ctx, of, w.look)
}

// look checks all parts of the network, in both namespaces, and repairs the wrong
// or missing ones, unless it did so a moment ago. A later look continues:
// again is when.
func (w *watcher) look(at changes.Depth) (again time.Duration) {
	if w.life.Enter(ErrClosed) != nil {
		return changes.Interval
	}
	defer w.life.Exit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.repairs.unrepaired() != nil {
		at = changes.Everything
	}
	mend := w.repairs.wait(time.Now()) <= 0
	lost, err := w.settle(at, mend)
	w.repairs.report(lost, mend, err)
	if w.repairs.unrepaired() == nil {
		return changes.Interval
	}
	return min(w.repairs.wait(time.Now()), changes.Interval)
}

// settle makes everything that all slots share what it should be; see the parts.
func (w *watcher) settle(at changes.Depth, mend bool) (lost []string, err error) {
	// One part that fails keeps none of the others from its repair.
	add := func(what []string, e error) { lost, err = append(lost, what...), errors.Join(err, e) }
	if at.Filter {
		w.rules.doubt()
	}
	add(w.router.settle(w.guests, mend))
	if was, e := w.rules.settle(mend); was || e != nil {
		add([]string{LostRouterRules}, e)
	}
	add(w.uplink.lookAfter(at.Host, mend))
	w.pool.renew()
	if slices.Contains(lost, LostRouterRules) || slices.Contains(lost, LostHostRules) {
		w.tracking.Suspect.Store(true)
	}
	if mend && err == nil {
		add(nil, w.tracking.ForgetUntranslated())
	}
	if at.Router {
		add(w.pool.settle(mend))
	}
	slices.Sort(lost)
	return slices.Compact(lost), err
}

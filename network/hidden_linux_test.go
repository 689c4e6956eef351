package network

import (
	"testing"

	"github.com/rundlet/rundlet/network/changes"
)

// The kernel counts no generation for a change of ours that changes nothing. The next one is another program's then, and must not be
// taken for ours.
func TestAChangeThatChangesNothingHidesNoLoss(t *testing.T) {
	w := newWorld(t)
	n := w.openHealing()
	s := w.acquire(n.Network, allow)
	eventually(t, "the router is known to be whole", func() bool {
		n.watcher.mu.Lock()
		defer n.watcher.mu.Unlock()
		lost, err := n.watcher.settle(changes.Depth{}, false)
		return lost == nil && err == nil
	})
	before := n.repaired()
	r := n.rules.enforcer.(*nftRules)
	r.mu.Lock()
	if err := r.flush(difference{add: r.have[s.ID].members()}, func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	r.mu.Unlock()
	w.dropTable(n.router.ns, routerTable)
	eventually(t, "it is repaired", func() bool { return n.repaired() > before })
}

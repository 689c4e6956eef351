package network

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/shares"
)

// TestAKernelWithoutTimesOfFlowsHasTheInternet has an object that no kernel knows
// in their place, as CONFIG_NF_CONNTRACK_TIMEOUT is missing elsewhere.
func TestAKernelWithoutTimesOfFlowsHasTheInternet(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var told []string
	cfg := w.config()
	cfg.OnError = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err.Error())
	}
	n := w.open(cfg)
	n.uplink.mu.Lock()
	n.uplink.times = func(t *nftables.Table) *nftables.NamedObj {
		return &nftables.NamedObj{Table: t, Name: "times", Type: 250, Obj: shares.Times(t).Obj}
	}
	n.uplink.mu.Unlock()
	w.serve(w.outer, 99)
	if err := reach(w.guest(w.acquire(n, allow)), "tcp", internetIP+":99"); err != nil {
		t.Error(err)
	}
	n.watcher.look(changes.Depth{Host: true, Router: true})
	if lost := n.Broken(); lost != nil {
		t.Errorf("lost: %v", lost)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || !strings.Contains(told[0], noTimes) || !strings.Contains(told[0], unix.ENOENT.Error()) {
		t.Errorf("told: %q, want it once", told)
	}
}

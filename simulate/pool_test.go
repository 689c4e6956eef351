package simulate

import (
	"testing"

	"github.com/rundlet/rundlet/policy/warmpool"
)

func TestAWarmEntryIsReservedBeforeItIsLaunched(t *testing.T) {
	n := newNode(Config{}, policies())
	f, ok := n.daemon.pool.entries.Begin(warmpool.Action{Op: warmpool.Launch, Key: keys[0], Stage: warmpool.Ready}, n.clock.Time())
	if !ok {
		t.Fatal("the launch did not begin")
	}
	all := n.daemon.reserved.ledger.Adopt(whole)
	n.daemon.pool.launch(f)
	if len(n.host.machines) != 0 || n.host.memory != 0 || n.host.jobs != 0 {
		t.Errorf("launched without room: %d machines, %d B, %d jobs", len(n.host.machines), n.host.memory, n.host.jobs)
	}
	all.Release()
	for _, s := range n.daemon.pool.stats() {
		if s.InFlight != 0 || s.Failures != 0 {
			t.Errorf("got %+v, want a flight that was cancelled, not failed", s)
		}
	}
}

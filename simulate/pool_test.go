package simulate

import (
	"testing"

	"github.com/rundlet/rundlet/policy/warmpool"
)

func TestAWarmEntryIsReservedBeforeItIsLaunched(t *testing.T) {
	d := boot(newWorld(1, reserve{}), policies(), 0)
	f, ok := d.pool.entries.Begin(warmpool.Action{Op: warmpool.Launch, Key: keys[0], Stage: warmpool.Ready}, d.clock.Time())
	if !ok {
		t.Fatal("the launch did not begin")
	}
	all := d.reserved.ledger.Adopt(policies().capacity())
	d.pool.launch(f)
	if len(d.host.machines) != 0 || d.host.memory != 0 || d.host.jobs != 0 {
		t.Errorf("launched without room: %d machines, %d B, %d jobs", len(d.host.machines), d.host.memory, d.host.jobs)
	}
	all.Release()
	for _, s := range d.pool.stats() {
		if s.InFlight != 0 || s.Failures != 0 {
			t.Errorf("got %+v, want a flight that was cancelled, not failed", s)
		}
	}
}

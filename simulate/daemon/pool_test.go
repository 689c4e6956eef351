package daemon

import (
	"testing"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/world"
)

func TestAWarmEntryIsReservedBeforeItIsLaunched(t *testing.T) {
	d := Boot(world.New(1, world.Reserve{}), Default(), 0)
	f, ok := d.pool.entries.Begin(warmpool.Action{Op: warmpool.Launch, Key: world.Keys[0], Stage: warmpool.Ready}, d.Clock.Time())
	if !ok {
		t.Fatal("the launch did not begin")
	}
	all := d.reserved.ledger.Adopt(Default().Capacity())
	d.pool.launch(f)
	if len(d.Host.Machines) != 0 || d.Host.Memory != 0 || d.Host.Jobs != 0 {
		t.Errorf("launched without room: %d machines, %d B, %d jobs", len(d.Host.Machines), d.Host.Memory, d.Host.Jobs)
	}
	all.Release()
	for _, s := range d.pool.stats() {
		if s.InFlight != 0 || s.Failures != 0 {
			t.Errorf("got %+v, want a flight that was cancelled, not failed", s)
		}
	}
}

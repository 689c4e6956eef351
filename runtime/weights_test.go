package runtime

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/vm"
)

// wantWeight checks which share of the processors a sandbox's machine has.
func (f *fixture) wantWeight(t *testing.T, id string, want int) {
	t.Helper()
	stats, err := f.cfg.Driver.(vm.Statser).Stats(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Weight != want {
		t.Errorf("sandbox %s has the weight %d, want %d", id, stats.Weight, want)
	}
}

func TestTheProcessorsAreDividedByKey(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	alone := f.create(of("alone"))
	var many []string
	for range 8 {
		many = append(many, f.create(of("many")).ID)
	}
	check := func(when string) {
		t.Helper()
		t.Run(when, func(t *testing.T) {
			f.wantWeight(t, alone.ID, vm.MaxWeight)
			for _, id := range many {
				f.wantWeight(t, id, vm.MaxWeight/8)
			}
		})
	}
	check("created")
	f.pause(alone.ID)
	if _, _, err := f.rt.Connect(ctx, alone.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	check("resumed")
	f.restart()
	check("after a restart of the daemon")
	for _, id := range many[1:] {
		f.pause(id)
	}
	f.wantWeight(t, many[0], vm.MaxWeight)
	if err := f.rt.Kill(ctx, many[0]); err != nil {
		t.Fatal(err)
	}
	f.wantWeight(t, alone.ID, vm.MaxWeight)
}

func TestAWarmMachineHasTheWeightOfTheKeyThatGotIt(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, Prepared: 1}, func(t *testing.T, f *fixture) {
		f.refill(false)
		for _, left := range [][2]int{{0, 1}, {0, 0}} {
			sb := f.create(of(fmt.Sprint("a key that leaves ", left)))
			if got := f.pooled(); got != left {
				t.Fatalf("the pool has %v, want %v: it did not come out of it", got, left)
			}
			f.wantWeight(t, sb.ID, vm.MaxWeight)
		}
	})
}

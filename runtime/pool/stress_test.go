package pool

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/vm"
)

// Whatever happens at the same time, no machine is handed out twice, or for another build, and nothing is left when the daemon ends.
func TestAllAtOnceLeavesNothing(t *testing.T) {
	network := &slots{}
	p, build := filledIn(t, network, 2, "old", "new", "last")
	p.cfg.Unusable = func(from claim.Origin, err error) {
		if p.life.Err() == nil {
			t.Errorf("%s: %v", from.ID, err)
		}
	}
	names := []string{"old", "new", "last"}
	var mu sync.Mutex
	seen := map[string]bool{}
	var given atomic.Int64
	act := func(r *rand.Rand) {
		from := build[names[r.IntN(len(names))]]
		switch r.IntN(40) {
		case 0:
			p.SetTarget("mine", Target{Prepared: r.IntN(6)})
		case 1:
			p.Keep(from)
		case 3:
			p.Drop("t")
		case 8:
			p.SetLimits(warmpool.Limits{Prepared: r.IntN(8), InFlight: 1 + r.IntN(4), Refill: warmpool.RefillAll})
		case 9:
			owned := map[string]bool{}
			for p.Owned(owned); len(owned) > 0; {
				for id := range owned {
					p.Yield(id)
					return
				}
			}
		case 10, 11, 12, 13, 14, 15, 16, 17, 18, 19:
			m := p.Checkout(from)
			if m == nil {
				return
			}
			mu.Lock()
			if given.Add(1); seen[m.ID] || m.Origin.BuildID != from.BuildID {
				t.Errorf("%s of build %s was handed out for %s, before: %v", m.ID, m.Origin.BuildID, from.BuildID, seen[m.ID])
			}
			seen[m.ID] = true
			mu.Unlock()
			p.Discard(m)
		default:
			p.Refill(time.Now())
		}
	}
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for deadline := time.Now().Add(20 * time.Second); given.Load() < 10 && time.Now().Before(deadline); {
				act(r)
			}
		})
	}
	all.Wait()
	p.cfg.Background.Stop()
	p.cfg.Background.Wait()
	p.Drain()
	left := map[string]bool{}
	p.Owned(left)
	views, err := p.cfg.Driver.List(t.Context())
	views = slices.DeleteFunc(views, func(v vm.View) bool { return build[v.ID].ID != "" }) // It has the snapshots.
	if u := p.cfg.Admission.Ledger.Usage(); err != nil || len(left)+len(views)+network.leased+len(p.cfg.Machines.Marks()) != 0 || u.Warm != (capacity.Budget{}) || u.Active != (capacity.Budget{}) {
		t.Errorf("left: machines %v, %v, %v, %d slots, marks %v, capacity %+v", left, views, err, network.leased, p.cfg.Machines.Marks(), u)
	}
	if given.Load() < 10 {
		t.Errorf("%d machines were handed out", given.Load())
	}
}

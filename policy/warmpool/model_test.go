package warmpool

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestRandomUseNeverSharesLosesOrExceeds drives a pool with everything that can
// happen, in random order, next to a plain record of each machine's owner.
func TestRandomUseNeverSharesLosesOrExceeds(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := newPool(nil)
		owned := map[string]bool{} // by the pool
		var flights []*Flight
		keys := []Key{keyA, keyB, keyC}
		versions := map[Key]string{keyA: "v1", keyB: "v1", keyC: "v1"}
		now, made := t0, 0
		leave := func(id string) {
			if !owned[id] {
				t.Fatalf("seed %d: %s left the pool, which did not have it", seed, id)
			}
			delete(owned, id)
		}
		for range 3000 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			k := keys[r.IntN(3)]
			switch r.IntN(10) {
			case 0:
				p.SetTarget(k, Target{Ready: r.IntN(4), Prepared: r.IntN(3), MaxAge: time.Duration(r.IntN(100)) * time.Second})
			case 1:
				versions[k] = fmt.Sprint("v", r.IntN(3))
				p.SetSnapshot(k, versions[k])
			case 2, 3:
				lim := Limits{Ready: r.IntN(8), Prepared: r.IntN(5), InFlight: r.IntN(4), Refill: Refill(r.IntN(4))}
				for _, a := range p.Plan(now, lim) {
					f, ok := p.Begin(a, now)
					if !ok {
						t.Fatalf("seed %d: %v of a fresh plan was refused", seed, a)
					}
					if a.Op != Launch {
						leave(f.Entry.ID)
					}
					if a.Op == Retire {
						continue
					}
					flights = append(flights, f)
					if len(flights) > lim.InFlight {
						t.Fatalf("seed %d: %d in flight, more than %d", seed, len(flights), lim.InFlight)
					}
					if ready, prepared := p.Depth(now); a.Stage == Ready && ready > lim.Ready || a.Stage == Prepared && prepared > lim.Prepared {
						t.Fatalf("seed %d: %v beyond %+v", seed, a, lim)
					}
				}
			case 4, 5, 6:
				if len(flights) == 0 {
					continue
				}
				f := flights[0]
				flights = flights[1:]
				if r.IntN(4) == 0 {
					f.Fail(now)
					continue
				}
				id := f.Entry.ID
				if f.Action.Op == Launch {
					made++
					id = fmt.Sprint(made)
				}
				if err := f.Done(id, now); err != nil {
					t.Fatal(err)
				}
				owned[id] = true
			case 7, 8:
				if e, ok := p.Checkout(k, now); ok {
					leave(e.ID)
					if e.Key != k || e.Snapshot != versions[k] {
						t.Fatalf("seed %d: %+v was handed out for %v of %s", seed, e, k, versions[k])
					}
				}
			default:
				if e, ok := p.Remove(fmt.Sprint(r.IntN(made + 1))); ok {
					leave(e.ID)
				}
			}
			held := 0
			for _, s := range p.Stats(now) {
				held += s.Ready + s.Prepared + s.Unfit
			}
			if held != len(owned) {
				t.Fatalf("seed %d: the pool has %d entries, want %d", seed, held, len(owned))
			}
		}
		if made < 100 {
			t.Errorf("seed %d: only %d were launched", seed, made)
		}
	}
}

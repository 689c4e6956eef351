package capacity

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// stressPool is a warm pool as a runtime would keep it: the owner of its
// entries' reservations.
type stressPool struct {
	mu      sync.Mutex
	entries map[string]*Reservation
}

// take removes an entry; only one caller gets it.
func (p *stressPool) take(id string) *Reservation {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.entries[id]
	delete(p.entries, id)
	return r
}

func (p *stressPool) retire(id string) {
	if r := p.take(id); r != nil {
		r.Release()
	}
}

func (p *stressPool) refill(l *Ledger, id string) {
	r, err := l.ReserveWarm(WarmEntry{ID: id, Budget: Budget{CPUs: 1, Sandboxes: 1}})
	if err != nil {
		return
	}
	p.mu.Lock()
	p.entries[id] = r
	p.mu.Unlock()
	if r.Yielding() { // It was asked to before the pool knew it.
		p.retire(id)
	}
}

func TestConcurrentUseAdmitsEverybodyAndLeavesNothing(t *testing.T) {
	const clients, rounds = 16, 200
	l := NewLedger(Budget{CPUs: 8, Sandboxes: 8, Launches: 2})
	pool := &stressPool{entries: map[string]*Reservation{}}
	q := NewQueue(l, QueueConfig{OnYield: pool.retire})
	// Whether the clients meet a warm machine is up to the scheduler; this one does.
	pool.refill(l, "w0")
	all, err := q.Ask("0", Budget{CPUs: 8, Sandboxes: 1, Launches: 1})
	if err != nil {
		t.Fatal(err)
	}
	<-all.Admitted()
	if s := q.Stats(); s.Yielded != 1 || s.Admitted != 1 {
		t.Errorf("one asked for what a warm machine holds: %+v", s)
	}
	all.Reservation().Release()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 2))
			for range rounds {
				id := fmt.Sprint("w", random.IntN(6))
				pool.refill(l, id)
				if random.IntN(4) == 0 {
					if r := pool.take(id); r != nil {
						if err := r.Promote(); err != nil && !errors.Is(err, ErrYielding) {
							t.Errorf("promote: %v", err)
						}
						r.Release()
					}
				}
				n := random.Int64N(8) + 1
				ticket, err := q.Ask(fmt.Sprint(client%3), Budget{CPUs: n, Sandboxes: 1, Launches: 1})
				if err != nil {
					t.Errorf("ask: %v", err)
					continue
				}
				if random.IntN(5) == 0 {
					ticket.Cancel()
					continue
				}
				<-ticket.Admitted() // Hangs, and so fails, if a wake-up is lost.
				r := ticket.Reservation()
				ticket.Cancel()
				if used := l.Usage(); used.Active.Plus(used.Warm).Minus(used.Capacity) != (Budget{}) {
					t.Errorf("more in use than there is: %+v", used)
				}
				r.Launched()
				r.Release()
			}
		})
	}
	wg.Wait()
	for id := range 6 {
		pool.retire(fmt.Sprint("w", id))
	}
	if u, s := l.Usage(), q.Stats(); u.Active != (Budget{}) || u.Warm != (Budget{}) || s.Pending != 0 || s.Full != 0 {
		t.Errorf("left over: %+v, %+v", u, s)
	} else if s.Admitted+s.Cancelled < clients*rounds+1 {
		t.Errorf("%d asked: %+v", clients*rounds+1, s)
	}
}

// BenchmarkAskAndRelease is one sandbox that ends and one that asks, with some
// in between that wait, and a pool of which all would have to yield without effect.
func BenchmarkAskAndRelease(b *testing.B) {
	for _, waiting := range []int{0, 200} {
		for _, warm := range []int{0, 100} {
			b.Run(fmt.Sprintf("waiting %d warm %d", waiting, warm), func(b *testing.B) {
				l := NewLedger(Budget{CPUs: 1, Sandboxes: 1000})
				for i := range warm {
					if _, err := l.ReserveWarm(WarmEntry{ID: fmt.Sprint(i), Budget: one}); err != nil {
						b.Fatal(err)
					}
				}
				q := NewQueue(l, QueueConfig{OnYield: func(string) { b.Error("yielded without need") }})
				line := make(chan *Ticket, waiting+1)
				enter := func() {
					ticket, err := q.Ask("t", Budget{CPUs: 1, Sandboxes: 1})
					if err != nil {
						b.Fatal(err)
					}
					line <- ticket
				}
				for range waiting {
					enter()
				}
				for b.Loop() {
					enter()
					(<-line).Reservation().Release()
				}
			})
		}
	}
}

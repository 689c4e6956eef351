// Package turns divides places for work that may take long among its owners, so that one of them, however much it asks for,
// leaves places for others. It imports the standard library only.
package turns

import (
	"context"
	"slices"
	"sync"
)

// Turns are places. An owner may have as many as it leaves free: one alone half of them, two a third each. Waiting owners are served in the
// order in which they asked, those first that have the fewest places. Safe for concurrent use.
type Turns struct {
	mu      sync.Mutex
	free    int
	has     map[string]int
	waiting []*waiter
}

type waiter struct {
	owner string
	turn  chan struct{} // closed when it has its place
}

// New returns so many places; one owner alone gets half of them.
func New(places int) *Turns { return &Turns{free: places, has: map[string]int{}} }

// Take waits for a place. The owner gives it back with Give, unless there was an error, which is that of ctx.
func (t *Turns) Take(ctx context.Context, owner string) error {
	w := &waiter{owner, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.serve()
	t.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	} else {
		t.give(owner)
	}
	return context.Cause(ctx)
}

// Give gives a place back.
func (t *Turns) Give(owner string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.give(owner)
}

func (t *Turns) give(owner string) {
	t.free++
	if t.has[owner]--; t.has[owner] == 0 {
		delete(t.has, owner)
	}
	t.serve()
}

// serve gives places to those that wait. The caller holds mu.
func (t *Turns) serve() {
	for {
		next := -1
		for i, w := range t.waiting {
			if t.has[w.owner] < t.free && (next < 0 || t.has[w.owner] < t.has[t.waiting[next].owner]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := t.waiting[next]
		t.waiting = slices.Delete(t.waiting, next, next+1)
		t.free--
		t.has[w.owner]++
		close(w.turn)
	}
}

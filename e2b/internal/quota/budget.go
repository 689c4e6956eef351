// Package quota divides fixed amounts of the daemon: a Budget among
// its owners, places among the requests that wait (Waits), and a Rate among the peers that ask for work. It may
// import the standard library only; only packages of e2b import it.
package quota

import "sync"

// Budget is an amount, such as bytes of memory, that owners share. None holds
// more than its share, and all together hold no more than the whole, so that one
// owner that holds its share leaves the rest to the others. It is safe for
// concurrent use.
type Budget struct {
	all, each int64

	mu   sync.Mutex
	used int64            // guarded by mu
	by   map[string]int64 // what each owner holds, if anything; guarded by mu
}

// NewBudget returns a budget of all, of which one owner may hold each.
func NewBudget(all, each int64) *Budget {
	return &Budget{all: all, each: each, by: map[string]int64{}}
}

// Take gives n to the owner, which returns it with Give, or reports false.
func (b *Budget) Take(owner string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.all || b.by[owner]+n > b.each {
		return false
	}
	b.used += n
	b.by[owner] += n
	return true
}

// Give takes back n that the owner had taken.
func (b *Budget) Give(owner string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.by[owner] -= n; b.by[owner] <= 0 {
		delete(b.by, owner)
	}
}

// Used returns the sum that all owners hold.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

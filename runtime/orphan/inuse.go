package orphan

import "sync"

// InUse is the set of ids of machines, slots and claims that an operation is
// about to make or to drop and that no row names: hygiene leaves them alone. The
// zero value is empty. Safe for concurrent use.
type InUse struct {
	mu  sync.Mutex
	ids map[string]int // how often each is held
}

// Hold adds ids, before their objects are made, until release is called.
func (u *InUse) Hold(ids ...string) (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ids == nil {
		u.ids = map[string]int{}
	}
	for _, id := range ids {
		u.ids[id]++
	}
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for _, id := range ids {
			if u.ids[id]--; u.ids[id] == 0 {
				delete(u.ids, id)
			}
		}
	})
}

// Add adds the ids that are held to a set.
func (u *InUse) Add(set map[string]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.ids {
		set[id] = true
	}
}

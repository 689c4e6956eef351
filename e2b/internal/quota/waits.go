package quota

import "sync"

// Waits counts the requests that wait for something of an owner, such as the resume of a sandbox. It is safe for concurrent use; the
// zero value is ready.
type Waits struct {
	mu  sync.Mutex
	by  map[string]*wait // by owner; guarded by mu
	all int              // guarded by mu
}

// wait is what requests of one owner wait for.
type wait struct {
	waiting int
	paid    bool // by one for all
}

// Enter counts a request, unless as many wait as may, in all and of the owner, and reports whether Pay was called for what it waits
// for. A most of 0 means unbounded.
func (w *Waits) Enter(owner string, most, mostOfOne int) (paid, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.by[owner]
	if one == nil {
		one = &wait{}
	}
	if most > 0 && (w.all >= most || one.waiting >= mostOfOne) {
		return false, false
	}
	if w.by == nil {
		w.by = map[string]*wait{}
	}
	w.by[owner] = one
	one.waiting++
	w.all++
	return one.paid, true
}

// Pay notes that a request that is counted has paid, for all that wait with it.
func (w *Waits) Pay(owner string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.by[owner].paid = true
}

// Leave ends what Enter counted.
func (w *Waits) Leave(owner string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.by[owner].waiting--; w.by[owner].waiting == 0 {
		delete(w.by, owner)
	}
}

// All returns how many wait.
func (w *Waits) All() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}

package dataplane

import (
	"net/http"
	"sync"
	"time"
)

// The costs of work that a request without a key causes. The unit is the check of one
// key.
const (
	// searchCost is for a search of all sandboxes, a microsecond or two for each. It
	// is seldom needed: a sandbox that was found is tried first from then on.
	searchCost = 20
	// wakeCost is for a resume, which takes a processor for half a second.
	wakeCost = 4
)

// LimitError refuses work because too much was asked for without a key.
type LimitError struct{ After time.Duration }

func (e *LimitError) Error() string { return "too many requests without an API key; try again later" }

// OnWork sets the function that is called before a request without a token causes
// work. It returns how long a request that is refused has to wait. Without it there
// means no limit.
func (p *Proxy) OnWork(charge func(r *http.Request, work float64) (wait time.Duration, ok bool)) {
	p.onWork = charge
}

func (p *Proxy) charge(r *http.Request, work float64) (time.Duration, bool) {
	if p.onWork == nil {
		return 0, true
	}
	return p.onWork(r, work)
}

// wakers counts the requests that wait for resumes. It is safe for concurrent use;
// the zero value is ready.
type wakers struct {
	mu  sync.Mutex
	by  map[string]*waker // sandbox id; guarded by mu
	all int               // guarded by mu
}

// waker is a resume that requests wait for.
type waker struct {
	waiting int
	paid    bool // by one for all
}

// enter counts a request, unless as many wait as may, and reports whether the
// resume was paid for.
func (w *wakers) enter(id string, most, mostOfOne int) (paid, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.by[id]
	if one == nil {
		one = &waker{}
	}
	if most > 0 && (w.all >= most || one.waiting >= mostOfOne) {
		return false, false
	}
	if w.by == nil {
		w.by = map[string]*waker{}
	}
	w.by[id] = one
	one.waiting++
	w.all++
	return one.paid, true
}

// pay notes that one that is counted has paid.
func (w *wakers) pay(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.by[id].paid = true
}

func (w *wakers) leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.by[id].waiting--; w.by[id].waiting == 0 {
		delete(w.by, id)
	}
}

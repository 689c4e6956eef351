package dataplane

import (
	"net/http"
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

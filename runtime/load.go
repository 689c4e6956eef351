package runtime

import (
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

// Load counts the requests that wait for capacity, and the warm machines, at one
// moment: the part of Figures that does not read the store, for frequent callers.
type Load struct {
	// Pending is how many requests wait.
	Pending int
	// Warm has one element per template that is, or was, kept warm.
	Warm []warmpool.Stats
}

// Load returns the load at this moment.
func (r *reads) Load() Load {
	return Load{Pending: r.admission.Queue.Stats().Pending, Warm: r.pool.Stats(time.Now())}
}

package runtime

import (
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

// Load is what waits for capacity, and what is kept warm, at one moment: the part
// of Figures that reads nothing from the store, for frequent callers.
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

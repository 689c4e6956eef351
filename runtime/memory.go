package runtime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// reasonOOM is the reason of a sandbox that its host ended for memory.
const reasonOOM = "oom"

// outOfMemoryEnds remembers the newest sandboxes that ended for memory, so that
// their clients get the reason.
type outOfMemoryEnds struct {
	mu   sync.Mutex
	mib  map[string]int
	keep []string // The order in which they are forgotten.
}

// mostEnds bounds what is remembered.
const mostEnds = 1000

func (o *outOfMemoryEnds) remember(row store.Sandbox) {
	if row.Reason != reasonOOM {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mib == nil {
		o.mib = map[string]int{}
	}
	if _, known := o.mib[row.ID]; !known {
		o.keep = append(o.keep, row.ID)
	}
	o.mib[row.ID] = row.MemoryMiB
	if len(o.keep) > mostEnds {
		delete(o.mib, o.keep[0])
		o.keep = o.keep[1:]
	}
}

// rememberEnds remembers the ends from before this process, the newest of all.
func (r *Runtime) rememberEnds(ctx context.Context) error {
	rows, err := r.cfg.Store.KilledSandboxes(ctx, mostEnds)
	for _, row := range slices.Backward(rows) {
		r.ends.remember(row)
	}
	return err
}

// gone is notFound, with the reason if it was memory.
func (o *outOfMemoryEnds) gone(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if mib, ok := o.mib[id]; ok {
		return ranOut(id, mib)
	}
	return fault.NotFound(id)
}

// gone is the same of a sandbox that is being ended.
func (sb *handle) gone() error {
	if sb.reason() == reasonOOM {
		return ranOut(sb.id, sb.snapshot().MemoryMiB)
	}
	return fault.NotFound(sb.id)
}

// reason is why the sandbox ends or ended.
func (sb *handle) reason() string {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return cmp.Or(sb.row.Reason, sb.doom)
}

func ranOut(id string, mib int) error {
	return &sandbox.OutOfMemoryError{Detail: fmt.Sprintf("out of memory: it used up its %d MiB and was ended", mib), Err: fault.NotFound(id)}
}

package live

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// ReasonOOM is the reason of a sandbox that its host ended for memory.
const ReasonOOM = "oom"

// MostEnds bounds the number of remembered ends.
const MostEnds = 1000

// Ended remembers the newest sandboxes that ended for memory, so that
// their clients can get the reason.
type Ended struct {
	mu   sync.Mutex
	mib  map[string]int
	keep []string // The order in which they are forgotten.
}

// Remember notes how a sandbox ended.
func (o *Ended) Remember(row store.Sandbox) {
	if row.Reason != ReasonOOM {
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
	if len(o.keep) > MostEnds {
		delete(o.mib, o.keep[0])
		o.keep = o.keep[1:]
	}
}

// Gone is sandbox.ErrNotFound, with the reason if it was memory.
func (o *Ended) Gone(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if mib, ok := o.mib[id]; ok {
		return ranOut(id, mib)
	}
	return fault.NotFound(id)
}

// Gone is the same of a sandbox that is being ended.
func (sb *Sandbox) Gone() error {
	if sb.Reason() == ReasonOOM {
		return ranOut(sb.ID, sb.Row().MemoryMiB)
	}
	return fault.NotFound(sb.ID)
}

// Reason is why the sandbox ends or ended.
func (sb *Sandbox) Reason() string {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return cmp.Or(sb.row.Reason, sb.doom)
}

func ranOut(id string, mib int) error {
	return &sandbox.OutOfMemoryError{Detail: fmt.Sprintf("out of memory: the sandbox used all of its %d MiB and was ended", mib), Err: fault.NotFound(id)}
}

package recovery

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Notes are the reasons why objects are not recovered yet, by the id of a sandbox or
// a machine, or "network". The zero value has none. Safe for concurrent use.
type Notes struct {
	mu  sync.Mutex
	why map[string]string
}

// Note keeps why something could not be recovered, or, with nil, that it was.
func (n *Notes) Note(id string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note(id, err)
}

// noteUnless keeps why something is not recovered, unless it is by now.
func (n *Notes) noteUnless(finished *atomic.Bool, id string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !finished.Load() {
		n.note(id, err)
	}
}

func (n *Notes) note(id string, err error) {
	if err == nil {
		delete(n.why, id)
		return
	}
	if n.why == nil {
		n.why = map[string]string{}
	}
	n.why[id] = err.Error()
}

// All returns a copy of the notes.
func (n *Notes) All() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.why == nil {
		return map[string]string{}
	}
	return maps.Clone(n.why)
}

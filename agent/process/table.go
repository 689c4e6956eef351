//go:build linux

package process

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/agent/stream"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

// retention is how long the end of a process can still be read by Connect.
const retention = 30 * time.Second

// notFoundError is a selector that names no process.
type notFoundError struct{ what string }

func (e *notFoundError) Error() string { return "process with " + e.what + " not found" }

// table knows the processes that run or ended lately.
type table struct {
	mu      sync.Mutex
	running map[uint32]*proc
	ended   map[uint32]*proc
}

func newTable() *table {
	return &table{running: map[uint32]*proc{}, ended: map[uint32]*proc{}}
}

func (t *table) add(p *proc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[p.pid] = p
}

// end moves a process to the ended ones and forgets it after the retention.
func (t *table) end(p *proc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// The pid is free since the process was collected, so another may have it.
	if t.running[p.pid] == p {
		delete(t.running, p.pid)
	}
	t.ended[p.pid] = p
	stream.AfterFunc(retention, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ended[p.pid] == p {
			delete(t.ended, p.pid)
		}
	})
}

// find returns a running process or, if withEnded, one that ended lately.
func (t *table) find(sel *processpb.ProcessSelector, withEnded bool) (*proc, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sets := []map[uint32]*proc{t.running}
	if withEnded {
		sets = append(sets, t.ended)
	}
	switch v := sel.GetSelector().(type) {
	case *processpb.ProcessSelector_Pid:
		for _, set := range sets {
			if p := set[v.Pid]; p != nil {
				return p, nil
			}
		}
		return nil, &notFoundError{fmt.Sprintf("pid %d", v.Pid)}
	case *processpb.ProcessSelector_Tag:
		for _, set := range sets {
			for _, p := range set {
				if p.tag != nil && *p.tag == v.Tag {
					return p, nil
				}
			}
		}
		return nil, &notFoundError{fmt.Sprintf("tag '%s'", v.Tag)}
	}
	return nil, fmt.Errorf("%w: process selector is missing", errCommand)
}

// list returns the running processes in the order of their pids.
func (t *table) list() []*proc {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*proc, 0, len(t.running))
	for _, p := range t.running {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *proc) int { return int(a.pid) - int(b.pid) })
	return list
}

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rundlet/rundlet/client"
)

// world is what the random clients share: places for sandboxes, and the
// snapshots that they took.
type world struct {
	t *testing.T
	n *node
	// api stays the same over restarts of the server.
	api client.API
	// daemon counts the ends and the starts of the server: it is odd while there
	// is none.
	daemon atomic.Int64
	up     *sync.Cond // with mu; told when daemon is even

	mu        sync.Mutex
	places    []*life
	taken     []bool // a client is making a sandbox for the place
	snapshots map[string]files
	// orphans and strays are the sandboxes and snapshots that there may be since
	// a call that makes them failed together with the server.
	orphans, strays int
	counts          map[string]int
	done            int // operations
	failures        []string
	failed          []string // the sandboxes of the failures
	progress        chan int
}

func newWorld(t *testing.T, n *node, places int) *world {
	w := &world{t: t, n: n, api: n.api, places: make([]*life, places), taken: make([]bool, places),
		snapshots: map[string]files{}, counts: map[string]int{}, progress: make(chan int, 1)}
	w.up = sync.NewCond(&w.mu)
	return w
}

// at returns the sandbox at a place, or nil.
func (w *world) at(place int) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.places[place]
}

// take reserves an empty place; a negative one is any.
func (w *world) take(place int) (int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.places {
		if (place < 0 || i == place) && w.places[i] == nil && !w.taken[i] {
			w.taken[i] = true
			return i, true
		}
	}
	return 0, false
}

// put fills a place that was taken; nil leaves it empty.
func (w *world) put(place int, l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[place], w.taken[place] = l, false
}

// remove empties the place of a sandbox that is gone.
func (w *world) remove(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.places, l); i >= 0 {
		w.places[i] = nil
	}
}

// snapshot picks a snapshot; false if there is none. take removes it from what
// the clients know.
func (w *world) snapshot(pick uint64, take bool) (id string, f files, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := slices.Sorted(maps.Keys(w.snapshots))
	if len(ids) == 0 {
		return "", f, false
	}
	id = ids[pick%uint64(len(ids))]
	f = w.snapshots[id]
	if take {
		delete(w.snapshots, id)
	}
	return id, f.clone(), true
}

func (w *world) keep(id string, f files) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshots[id] = f
}

// lost counts what may be there after a call that failed with the server.
func (w *world) lost(sandboxes, snapshots int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orphans += sandboxes
	w.strays += snapshots
}

// count notes how an operation ended.
func (w *world) count(op, outcome string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[op+" "+outcome]++
	w.done++
	select {
	case <-w.progress:
	default:
	}
	w.progress <- w.done
}

func (w *world) fail(actor, op, sandbox string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, fmt.Sprintf("%s: %s of %s: %v", actor, op, sandbox, err))
	if !slices.Contains(w.failed, sandbox) {
		w.failed = append(w.failed, sandbox)
	}
}

// alive waits until there is a server and returns its count.
func (w *world) alive() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.daemon.Load()%2 == 1 {
		w.up.Wait()
	}
	return w.daemon.Load()
}

// crash kills the server and starts the next one.
func (w *world) crash() {
	w.daemon.Add(1)
	defer func() { // Without a next one, too: waiters must not block forever.
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, l := range w.places {
			if l != nil {
				l.forget()
			}
		}
		w.daemon.Add(1)
		w.up.Broadcast()
	}()
	w.n.crash(w.t)
}

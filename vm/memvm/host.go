package memvm

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/vm"
)

// Host is what outlives a driver value: guests that run on, and snapshots. It
// is safe for concurrent use.
type Host struct {
	mu        sync.Mutex
	guests    map[*Guest]string      // every guest that was not freed, and its id
	snapshots map[string][]*snapshot // by machine, in creation order
}

type snapshot struct {
	name     string
	image    image
	complete bool // until then the name is taken, but nobody sees it
}

// NewHost returns an empty host.
func NewHost() *Host {
	return &Host{guests: map[*Guest]string{}, snapshots: map[string][]*snapshot{}}
}

// Objects lists what exists on the host, sorted: guests, open connections and
// snapshots. Tests compare it before and after.
func (h *Host) Objects() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for g, id := range h.guests {
		out = append(out, "guest "+id)
		for range g.openConns() {
			out = append(out, "connection to "+id)
		}
	}
	for id, list := range h.snapshots {
		for _, s := range list {
			out = append(out, "snapshot "+id+"/"+s.name)
		}
	}
	slices.Sort(out)
	return out
}

func (h *Host) boot(id string, spec vm.Spec) (*Guest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := newGuest(spec)
	if ref := spec.RestoreFrom; ref != nil {
		i := h.find(ref.VMID, ref.SnapshotID)
		if i < 0 || !h.snapshots[ref.VMID][i].complete {
			return nil, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, ref.SnapshotID, ref.VMID)
		}
		if err := g.load(h.snapshots[ref.VMID][i].image, spec); err != nil {
			return nil, err
		}
	}
	h.guests[g] = id
	return g, nil
}

func (h *Host) free(g *Guest) {
	g.exit(reasonDestroyed)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.guests, g)
}

// orphans returns the guests by id.
func (h *Host) orphans() map[string]*Guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]*Guest{}
	for g, id := range h.guests {
		out[id] = g
	}
	return out
}

func (h *Host) find(id, name string) int {
	return slices.IndexFunc(h.snapshots[id], func(s *snapshot) bool { return s.name == name })
}

// save takes the name; false if it is taken.
func (h *Host) save(id, name string, img image) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.find(id, name) >= 0 {
		return false
	}
	h.snapshots[id] = append(h.snapshots[id], &snapshot{name: name, image: img})
	return true
}

func (h *Host) publish(id, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.snapshots[id][h.find(id, name)].complete = true
}

func (h *Host) deleteSnapshot(id, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(id, h.find(id, name))
}

// deletePublished leaves alone a snapshot that is still being taken.
func (h *Host) deletePublished(id, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := h.find(id, name); i >= 0 && h.snapshots[id][i].complete {
		h.remove(id, i)
	}
}

func (h *Host) remove(id string, i int) {
	h.snapshots[id] = slices.Delete(h.snapshots[id], i, i+1)
	if len(h.snapshots[id]) == 0 {
		delete(h.snapshots, id)
	}
}

func (h *Host) hasSnapshots(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.snapshots[id]) > 0
}

// names returns the complete snapshots of a machine.
func (h *Host) names(id string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, s := range h.snapshots[id] {
		if s.complete {
			out = append(out, s.name)
		}
	}
	return out
}

func (h *Host) rename(g *Guest, oldID, newID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests[g] = newID
	if list := h.snapshots[oldID]; list != nil {
		h.snapshots[newID] = list
		delete(h.snapshots, oldID)
	}
}

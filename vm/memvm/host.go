package memvm

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Host holds the state that outlives a driver value: running guests, and snapshots. It
// is safe for concurrent use.
type Host struct {
	dir string // of the snapshots' files; empty: they have none

	mu        sync.Mutex
	guests    map[*Guest]string      // every guest that was not freed, and its id
	snapshots map[string][]*snapshot // by machine, in creation order
}

type snapshot struct {
	name     string
	image    image
	stamp    vm.Stamp
	created  time.Time
	bytes    int64 // of its file
	complete bool  // until then the name is taken, but not visible
}

// NewHost returns an empty host.
func NewHost() *Host {
	return &Host{guests: map[*Guest]string{}, snapshots: map[string][]*snapshot{}}
}

// NewHostIn returns an empty host whose snapshots have a file each below dir,
// for tests that read, copy or damage them. A restore wants the file to
// have its size; the content it takes from memory.
func NewHostIn(dir string) *Host {
	h := NewHost()
	h.dir = dir
	return h
}

// Objects lists the objects of the host, sorted: guests, open connections,
// snapshots and their files. Tests compare it before and after.
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
	if h.dir != "" {
		files, _ := filepath.Glob(filepath.Join(h.dir, "*", "*", "*"))
		out = append(out, files...)
	}
	slices.Sort(out)
	return out
}

func (h *Host) boot(id string, spec vm.Spec, here vm.Stamp) (*Guest, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := newGuest(spec)
	if ref := spec.RestoreFrom; ref != nil {
		i := h.find(ref.VMID, ref.SnapshotID)
		if i < 0 || !h.snapshots[ref.VMID][i].complete {
			return nil, fmt.Errorf("%w: snapshot %s of %s", vm.ErrNotFound, ref.SnapshotID, ref.VMID)
		}
		s := h.snapshots[ref.VMID][i]
		if err := h.check(ref.VMID, s, here); err != nil {
			return nil, err
		}
		load := g.load
		if s.image.filesystem {
			load = g.loadFiles
		}
		if err := load(s.image, spec); err != nil {
			return nil, err
		}
		g.setState(vm.StatusStopped)
		if ref.ResumeImmediately {
			g.setState(vm.StatusRunning)
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
func (h *Host) save(id, name string, img image, stamp vm.Stamp) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.find(id, name) >= 0 {
		return false
	}
	h.snapshots[id] = append(h.snapshots[id], &snapshot{name: name, image: img, stamp: stamp})
	return true
}

func (h *Host) publish(id, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.snapshots[id][h.find(id, name)]
	if err := h.writeFile(id, s); err != nil {
		return err
	}
	s.created, s.complete = time.Now(), true
	return nil
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
	h.removeFile(id, h.snapshots[id][i].name)
	h.snapshots[id] = slices.Delete(h.snapshots[id], i, i+1)
	if len(h.snapshots[id]) == 0 {
		delete(h.snapshots, id)
	}
}

// dropUnfinished removes the snapshots that an earlier driver value had not
// finished. The machines that this one knows may be in the middle of theirs.
func (h *Host) dropUnfinished(known map[string]*record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, list := range h.snapshots {
		if known[id] != nil {
			continue
		}
		for i := len(list) - 1; i >= 0; i-- {
			if !h.snapshots[id][i].complete {
				h.remove(id, i)
			}
		}
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

func (h *Host) rename(g *Guest, oldID, newID string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.moveFiles(oldID, newID); err != nil {
		return err
	}
	h.guests[g] = newID
	if list := h.snapshots[oldID]; list != nil {
		h.snapshots[newID] = list
		delete(h.snapshots, oldID)
	}
	return nil
}

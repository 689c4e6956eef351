package memvm

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm/console"
)

// reasonDestroyed is the answer of Wait after Destroy.
const reasonDestroyed = "destroyed"

// image is the content of a snapshot. Without memory, only files and spec count.
type image struct {
	filesystem bool
	memory     map[string]string
	listeners  map[uint16]func(*Guest, net.Conn)
	bootID     string
	files      map[string]string
	spec       vm.Spec
}

// Guest is the inside of a machine. It is safe for concurrent use.
type Guest struct {
	done chan struct{} // closed when the guest ended

	mu      sync.Mutex
	img     image
	status  vm.Status
	weight  int
	console console.Tail
	conns   map[net.Conn]struct{}
	reason  string // why it ended
}

func newGuest(spec vm.Spec) *Guest {
	return &Guest{
		done:   make(chan struct{}),
		status: vm.StatusCreated,
		weight: or(spec.Weight, vm.DefaultWeight),
		conns:  map[net.Conn]struct{}{},
		img: image{
			memory:    map[string]string{},
			listeners: map[uint16]func(*Guest, net.Conn){},
			bootID:    rand.Text(),
			files:     map[string]string{},
			spec:      copySpec(spec),
		},
	}
}

// Set writes to the guest's memory. The value is in snapshots, but not
// in those of the file system.
func (g *Guest) Set(key, value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.img.memory[key] = value
}

// Get reads the guest's memory.
func (g *Guest) Get(key string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.img.memory[key]
}

// SetFile writes a file. It is in snapshots of both kinds.
func (g *Guest) SetFile(name, content string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.img.files[name] = content
}

// File reads a file; the empty string is one that is not there.
func (g *Guest) File(name string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.img.files[name]
}

// Files returns a copy of all files by name.
func (g *Guest) Files() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.img.files)
}

// BootID names the boot of the guest: a restore with memory continues it.
func (g *Guest) BootID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.img.bootID
}

// Spec returns the spec of the machine: after a restore, that of the machine from
// which the snapshot was taken, with the fields that a restore may change. The caller
// must not modify the objects that it refers to.
func (g *Guest) Spec() vm.Spec {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.img.spec
}

// Listen serves a port; listeners travel in snapshots, so serve is given the
// guest that it runs in. The connection is closed when serve returns.
func (g *Guest) Listen(port uint16, serve func(*Guest, net.Conn)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.img.listeners[port] = serve
}

// Print writes one line to the console.
func (g *Guest) Print(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.console.Add(line)
}

// Exit ends the guest, as when its processes die: "oom", "exited: 1". Only the
// first call counts.
func (g *Guest) Exit(reason string) { g.exit(reason) }

func (g *Guest) exit(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != "" {
		return
	}
	g.reason = reason
	close(g.done)
	for c := range g.conns {
		c.Close()
	}
}

func (g *Guest) ended() bool { return g.exitReason() != "" }

func (g *Guest) exitReason() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

func (g *Guest) state() vm.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status
}

func (g *Guest) setState(s vm.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = s
}

func (g *Guest) openConns() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// image copies the guest.
func (g *Guest) image() image {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.img.clone()
}

func (i image) clone() image {
	i.memory, i.listeners = maps.Clone(i.memory), maps.Clone(i.listeners)
	i.files, i.spec = maps.Clone(i.files), copySpec(i.spec)
	return i
}

// onlyFiles drops the state that a cold boot begins without.
func (i image) onlyFiles() image {
	return image{filesystem: true, files: i.files, spec: i.spec}
}

// loadFiles makes a new guest begin with the files of a snapshot.
func (g *Guest) loadFiles(img image, spec vm.Spec) error {
	if err := checkCold(spec); err != nil {
		return err
	}
	if len(spec.RestoreFrom.NetworkOverrides) > 0 {
		return fmt.Errorf("%w: network overrides on a cold boot", vm.ErrInvalid)
	}
	if spec.Rootfs != img.spec.Rootfs {
		return fmt.Errorf("%w: the snapshot has another root file system", vm.ErrIncompatible)
	}
	if err := checkMounts(img.spec.Mounts, spec.Mounts); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.img.files = maps.Clone(img.files)
	return nil
}

// load makes a new guest the continuation of a snapshot with memory. It uses
// only the fields of the spec that count on restore.
func (g *Guest) load(img image, spec vm.Spec) error {
	was := img.spec
	if err := checkMounts(was.Mounts, spec.Mounts); err != nil {
		return err
	}
	now := copySpec(was)
	now.RestoreFrom = copySpec(spec).RestoreFrom
	if len(spec.Mounts) > 0 {
		now.Mounts = slices.Clone(spec.Mounts)
	}
	now.Hostname = or(spec.Hostname, was.Hostname)
	now.VCPUs = or(spec.VCPUs, was.VCPUs)
	now.MemoryMiB = or(spec.MemoryMiB, was.MemoryMiB)
	now.NetNS, now.GuestIP = spec.NetNS, spec.GuestIP
	for _, o := range spec.RestoreFrom.NetworkOverrides {
		i := slices.IndexFunc(now.Interfaces, func(n vm.NetworkInterface) bool { return n.ID == o.InterfaceID })
		if i < 0 {
			return fmt.Errorf("%w: network override of %q: the snapshot has no such interface", vm.ErrInvalid, o.InterfaceID)
		}
		now.Interfaces[i].HostDevice = o.HostDevice
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.img = img.clone()
	g.img.spec = now
	return nil
}

func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

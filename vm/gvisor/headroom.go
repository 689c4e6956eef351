//go:build linux

package gvisor

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/pages"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// Saving and loading need memory that running does not: the sentry encodes and
// decodes all its objects. The factors are upper bounds of what
// BenchmarkOverhead measures; see docs/reliability.md.
const (
	// saveFactor is the memory that a save takes for each byte of private memory of the
	// sandbox's processes, which is mostly the sentry's objects.
	saveFactor = 3
	// saveThread is the memory that a save takes for each host thread: a process of the guest
	// has about three.
	saveThread = 768 << 10
	// readFactor is the memory that reading a layer takes for each byte of its largest file.
	readFactor = 2
	// loadFactor is the memory that a restore takes for each byte of the encoded objects.
	loadFactor = 16
	// leastHeadroom is the memory that a save or a restore of next to nothing may take.
	leastHeadroom = 64 * budget.MiB
)

// headroom counts the memory of the host that saves and restores may take beyond the
// limits of their machines, all of them together.
type headroom struct {
	mu        sync.Mutex
	granted   int64
	available func() (int64, error) // Of the host, in bytes.
}

// hostReserve is the memory that saves and restores leave to the rest of the host.
const hostReserve = 128 * budget.MiB

// grant counts bytes against the host, or fails if it lacks them. The caller
// gives them back with free.
func (h *headroom) grant(bytes int64) (free func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	available, err := h.available()
	if err != nil {
		return nil, fmt.Errorf("memory of the host: %w", err)
	}
	if left := available - h.granted - hostReserve; bytes > left {
		return nil, fmt.Errorf("%w: it may need %d MiB temporarily, and the host has %d MiB available",
			vm.ErrOutOfMemory, bytes/budget.MiB, max(0, left)/budget.MiB)
	}
	h.granted += bytes
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.granted -= bytes
	}), nil
}

// memoryLimit is the state of a machine's limit.
type memoryLimit struct {
	mu     sync.Mutex
	lifted bool
}

// liftForSave raises a machine's memory limit by what saving it may take. It
// fails before anything is done if the host lacks that. The caller calls lower.
func (m *machine) liftForSave(host *headroom) (lower func(), err error) {
	return m.lift(host, func(own, threads int64) int64 { return saveFactor*own + saveThread*threads })
}

// lift raises a machine's memory limit by what an operation takes of a machine with so much private memory and so many threads.
func (m *machine) lift(host *headroom, takes func(own, threads int64) int64) (lower func(), err error) {
	if !m.limited() {
		return func() {}, nil
	}
	own, err := m.group.MemoryOf(cgroups.OwnMemory)
	if err != nil {
		return nil, err
	}
	if pids, err := m.processes(); err == nil {
		own += pages.Swapped(pids) // It comes back.
	}
	_, threads, err := m.group.Usage()
	if err != nil {
		return nil, err
	}
	need := takes(own, threads) + leastHeadroom
	free, err := host.grant(need)
	if err != nil {
		return nil, err
	}
	m.limit.mu.Lock()
	defer m.limit.mu.Unlock()
	used, err := m.group.Unreclaimable()
	if err == nil {
		err = m.group.SetMemoryAndSwap(max(m.budget().HostLimit(), used) + need)
	}
	if err != nil {
		free()
		return nil, fmt.Errorf("raise the memory limit: %w", err)
	}
	m.limit.lifted = true
	return func() { m.settleLimit(free) }, nil
}

// liftForRestore is liftForSave for a machine that is to load the images in dir
// and has no processes yet.
func (m *machine) liftForRestore(host *headroom, dir string) (lower func(), err error) {
	if !m.limited() {
		return func() {}, nil
	}
	need := restoreHeadroom(dir)
	free, err := host.grant(need)
	if err != nil {
		return nil, err
	}
	m.limit.mu.Lock()
	defer m.limit.mu.Unlock()
	if err := m.group.SetMemoryAndSwap(m.budget().HostLimit() + need); err != nil {
		free()
		return nil, fmt.Errorf("raise the memory limit: %w", err)
	}
	m.limit.lifted = true
	return func() { m.settleLimit(free) }, nil
}

func (m *machine) limited() bool { return m.group != nil && m.spec.MemoryMiB > 0 }

func (m *machine) budget() budget.Budget { return budget.New(int64(m.spec.MemoryMiB) * budget.MiB) }

// restoreHeadroom is what loading the images in dir may take beyond running:
// by the size of the objects, not of the pages.
func restoreHeadroom(dir string) int64 {
	need := int64(leastHeadroom)
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && snapshots.IsImage(entry.Name()) && entry.Name() != control.PagesFile {
			need += loadFactor * info.Size()
		}
	}
	return need
}

// settleLimit gives a machine its ordinary limit back as soon as what it uses
// fits, which may take a moment: a limit below the use would be refused, or end
// the sandbox. Then it calls free.
func (m *machine) settleLimit(free func()) {
	m.limit.mu.Lock()
	m.limit.lifted = false
	m.limit.mu.Unlock()
	if !m.limited() || m.sandbox == nil || m.lowerLimit() {
		free()
		return
	}
	go func() {
		defer free()
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
			select {
			case <-m.sandbox.Joined:
				return // It has ended, or is left alone.
			case <-time.After(pause):
			}
			if m.lowerLimit() {
				return
			}
		}
	}()
}

// lowerLimit reports whether the machine has its ordinary limit, or has been
// granted another one meanwhile.
func (m *machine) lowerLimit() bool {
	m.limit.mu.Lock()
	defer m.limit.mu.Unlock()
	if m.limit.lifted {
		return true
	}
	limit := m.budget().HostLimit()
	used, err := m.group.Unreclaimable()
	return err == nil && used+16*budget.MiB <= limit && m.group.SetMemoryAndSwap(limit) == nil
}

// outOfMemory says so if an operation failed because the host killed one of the
// machine's processes for memory meanwhile.
func (m *machine) outOfMemory(what string, killsBefore int64, err error) error {
	if err == nil || m.group.OOMKills() == killsBefore {
		return err
	}
	limit, _ := cgroups.ReadInt(m.group.MemoryFile("memory.limit_in_bytes", "memory.max"))
	return fmt.Errorf("%w: %s took more than %d MiB in a sandbox of %d MiB (%w)",
		vm.ErrOutOfMemory, what, limit/budget.MiB, m.spec.MemoryMiB, brief(err))
}

package world

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
)

// Host is the simulated host: its machines, what they and others use of its memory
// and disk, and the jobs that share its processors. Its methods keep its totals equal
// to the sums over its machines; only Foreign and ForeignDisk are set by others.
type Host struct {
	Reserve Reserve

	Machines []*Machine // all that are not gone, in no order
	Ready    int        // machines in state Ready
	Jobs     int        // machines that keep a processor busy
	// Memory and Disk are the bytes that all machines use.
	Memory, Disk int64
	// Foreign and ForeignDisk are the bytes of memory and disk that something else
	// uses.
	Foreign, ForeignDisk int64
	// Deep is since when half of a reserve is gone, as of the last WatchReserve; zero
	// if it is not.
	Deep time.Duration

	clock    *Clock
	draw     Chances
	lastID   uint64
	stalls   float64 // see account
	stallsAt time.Duration
}

// Reserve is how many bytes are to be kept for the host itself.
type Reserve struct{ Memory, Disk int64 }

func newHost(c *Clock, draw Chances, r Reserve) *Host {
	return &Host{clock: c, draw: draw, Reserve: r}
}

// Create makes a machine in state Asking. It is not one of Machines before it enters
// a state.
func (h *Host) Create(tenant, template int) *Machine {
	h.lastID++
	return &Machine{ID: strconv.FormatUint(h.lastID, 10), Number: h.lastID, Tenant: tenant, Template: template, index: -1, Asked: h.clock.Now()}
}

// Enter changes the state of m, or begins it anew: its job ends, and what was to happen
// to it in the last one is void.
func (h *Host) Enter(m *Machine, s State) {
	h.StopJob(m)
	if m.State == Ready {
		h.Ready--
	}
	if s == Ready {
		h.Ready++
	}
	m.State, m.Since, m.Deadline, m.Ends = s, h.clock.Now(), 0, 0
	m.version++
	switch {
	case s == Asking:
		m.Deadline = m.Since + MaxWait
	case s.Transitional():
		m.Deadline = m.Since + transitionTime
	}
	switch {
	case m.index < 0 && s != Gone:
		m.index = len(h.Machines)
		h.Machines = append(h.Machines, m)
	case m.index >= 0 && s == Gone:
		h.remove(m)
	}
}

func (h *Host) remove(m *Machine) {
	end := len(h.Machines) - 1
	last := h.Machines[end]
	h.Machines[m.index], last.index = last, m.index
	h.Machines[end] = nil
	h.Machines = h.Machines[:end]
	m.index = -1
}

// Use changes what m uses of the host.
func (h *Host) Use(m *Machine, memory, disk int64) {
	h.Memory += memory - m.Memory
	h.Disk += disk - m.Disk
	m.Memory, m.Disk = memory, disk
}

// AvailableMemory is how many bytes of memory are left.
func (h *Host) AvailableMemory() int64 {
	return max(MemoryTotal-memoryHost-h.Foreign-h.Memory, 0)
}

// FreeDisk is how many bytes of disk are left.
func (h *Host) FreeDisk() int64 { return max(DiskTotal-diskHost-h.ForeignDisk-h.Disk, 0) }

// FreeBytes is what statfs would return, for the daemon's disk.Probe.
func (h *Host) FreeBytes(string) (int64, error) { return h.FreeDisk(), nil }

// Safe reports whether the reserve is whole.
func (h *Host) Safe() bool {
	return h.AvailableMemory() >= h.Reserve.Memory && h.FreeDisk() >= h.Reserve.Disk
}

// IdleMemory is what the entries of the warm pool use.
func (h *Host) IdleMemory() (memory int64) {
	for _, m := range h.Machines {
		if m.State == Ready || m.State == Prepared {
			memory += m.Memory
		}
	}
	return memory
}

// GivesBack reports whether a warm entry or a sandbox that is being paused is left,
// whose memory comes back.
func (h *Host) GivesBack() bool {
	return slices.ContainsFunc(h.Machines, func(m *Machine) bool { return m.Warm || m.State == Pausing })
}

// WatchReserve notes since when half of a reserve is gone.
func (h *Host) WatchReserve() {
	switch deep := h.AvailableMemory() < h.Reserve.Memory/2 || h.FreeDisk() < h.Reserve.Disk/2; {
	case !deep:
		h.Deep = 0
	case h.Deep == 0:
		h.Deep = h.clock.Now()
	}
}

// Job keeps a processor busy and then lets do happen to m. Without a free
// processor it takes as much longer.
func (h *Host) Job(m *Machine, cost time.Duration, do Event) {
	h.account()
	h.Jobs++
	m.Busy = true
	crowd := max(1, float64(h.Jobs)/Processors)
	h.clock.After(h.draw.Spread(time.Duration(float64(cost)*crowd), 0.25), do, m)
}

// StopJob frees the processor of m, if it has a job. It does not make the end of the
// job void.
func (h *Host) StopJob(m *Machine) {
	if m.Busy {
		h.account()
		m.Busy = false
		h.Jobs--
	}
}

// account keeps the share of the last ten seconds in which jobs waited.
func (h *Host) account() {
	var now float64
	if h.Jobs > Processors {
		now = 100
	}
	h.stalls = now + (h.stalls-now)*math.Exp(-(h.clock.Now()-h.stallsAt).Seconds()/10)
	h.stallsAt = h.clock.Now()
}

// Sample is what would be read from /proc now.
func (h *Host) Sample() autoscale.Sample {
	h.account()
	s := autoscale.Sample{
		CPU:             autoscale.Pressure{Some: h.stalls},
		MemoryAvailable: h.AvailableMemory(), MemoryTotal: MemoryTotal,
	}
	// A host stalls on memory when the last twentieth of it is in use.
	if short := 1 - float64(s.MemoryAvailable)/(MemoryTotal/20); short > 0 {
		s.Memory = autoscale.Pressure{Some: 100 * short, Full: 60 * short}
	}
	return s
}

package simulate

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
)

// host is the simulated host: its machines, what they and others use of its memory
// and disk, and the jobs that share its processors. A crash of the daemon leaves it
// as it is.
type host struct {
	clock   *clock
	draw    chances
	reserve reserve

	machines []*machine // all that are not gone
	lastID   uint64
	ready    int // machines in state ready
	// memory and disk are what all machines use.
	memory, disk int64
	// foreign and foreignDisk are the memory and disk that something else uses.
	foreign, foreignDisk int64

	jobs     int     // machines that keep a processor busy
	stalls   float64 // see account
	stallsAt time.Duration
	deep     time.Duration // since when half of a reserve is gone; 0 if it is not
}

// reserve is what is to be kept for the host itself.
type reserve struct{ memory, disk int64 }

func newHost(c *clock, draw chances, r reserve) *host {
	return &host{clock: c, draw: draw, reserve: r}
}

// create makes a machine in state asking. It is not one of the host's before it
// enters another state.
func (h *host) create(tenant, template int) *machine {
	h.lastID++
	return &machine{id: strconv.FormatUint(h.lastID, 10), number: h.lastID, tenant: tenant, template: template, index: -1, asked: h.clock.Now()}
}

// enter changes the state of m; what was to happen in the last one is void.
func (h *host) enter(m *machine, s state) {
	h.stopJob(m)
	if m.state == ready {
		h.ready--
	}
	if s == ready {
		h.ready++
	}
	m.state, m.since, m.deadline, m.ends = s, h.clock.Now(), 0, 0
	m.version++
	switch {
	case s == asking:
		m.deadline = m.since + maxWait
	case s.transitional():
		m.deadline = m.since + transitionTime
	}
	switch {
	case m.index < 0 && s != gone:
		m.index = len(h.machines)
		h.machines = append(h.machines, m)
	case m.index >= 0 && s == gone:
		h.remove(m)
	}
}

func (h *host) remove(m *machine) {
	end := len(h.machines) - 1
	last := h.machines[end]
	h.machines[m.index], last.index = last, m.index
	h.machines[end] = nil
	h.machines = h.machines[:end]
	m.index = -1
}

// use changes what m uses of the host.
func (h *host) use(m *machine, memory, disk int64) {
	h.memory += memory - m.memory
	h.disk += disk - m.disk
	m.memory, m.disk = memory, disk
}

func (h *host) availableMemory() int64 {
	return max(memoryTotal-memoryHost-h.foreign-h.memory, 0)
}

func (h *host) freeDisk() int64 { return max(diskTotal-diskHost-h.foreignDisk-h.disk, 0) }

// FreeBytes is what statfs would return, for the daemon's disk.Probe.
func (h *host) FreeBytes(string) (int64, error) { return h.freeDisk(), nil }

// reserved reports whether what is kept for the host itself is whole.
func (h *host) reserved() bool {
	return h.availableMemory() >= h.reserve.memory && h.freeDisk() >= h.reserve.disk
}

// idleMemory is what the entries of the warm pool use.
func (h *host) idleMemory() (memory int64) {
	for _, m := range h.machines {
		if m.state == ready || m.state == prepared {
			memory += m.memory
		}
	}
	return memory
}

// givesBack reports whether a warm entry or a sandbox that is being paused is left,
// whose memory comes back.
func (h *host) givesBack() bool {
	return slices.ContainsFunc(h.machines, func(m *machine) bool { return m.warm || m.state == pausing })
}

// watchReserve notes since when half of a reserve is gone.
func (h *host) watchReserve() {
	switch deep := h.availableMemory() < h.reserve.memory/2 || h.freeDisk() < h.reserve.disk/2; {
	case !deep:
		h.deep = 0
	case h.deep == 0:
		h.deep = h.clock.Now()
	}
}

// job keeps a processor busy and then lets do happen to m. Without a free
// processor it takes as much longer.
func (h *host) job(m *machine, cost time.Duration, do event) {
	h.account()
	h.jobs++
	m.busy = true
	crowd := max(1, float64(h.jobs)/processors)
	h.clock.After(h.draw.spread(time.Duration(float64(cost)*crowd), 0.25), do, m)
}

func (h *host) stopJob(m *machine) {
	if m.busy {
		h.account()
		m.busy = false
		h.jobs--
	}
}

// account keeps the share of the last ten seconds in which jobs waited.
func (h *host) account() {
	var now float64
	if h.jobs > processors {
		now = 100
	}
	h.stalls = now + (h.stalls-now)*math.Exp(-(h.clock.Now()-h.stallsAt).Seconds()/10)
	h.stallsAt = h.clock.Now()
}

// sample is what would be read from /proc now. The disk is not part of it.
func (h *host) sample() autoscale.Sample {
	h.account()
	s := autoscale.Sample{
		CPU:             autoscale.Pressure{Some: h.stalls},
		MemoryAvailable: h.availableMemory(), MemoryTotal: memoryTotal,
	}
	// A host stalls on memory when the last twentieth of it is in use.
	if short := 1 - float64(s.MemoryAvailable)/(memoryTotal/20); short > 0 {
		s.Memory = autoscale.Pressure{Some: 100 * short, Full: 60 * short}
	}
	return s
}

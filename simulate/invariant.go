package simulate

import (
	"fmt"

	"github.com/rundlet/rundlet/policy/capacity"
)

// What the checks go by, whatever the policy under test thinks.
var (
	whole       = policies().capacity()
	floorMemory = policies().pressure().Thresholds().ReserveMemory.Of(memoryTotal)
	floorDisk   = policies().pressure().Thresholds().ReserveDisk.Of(diskTotal)
)

// described is how many violations of each kind are described; all are counted.
const described = 3

func (n *node) violate(format string, args ...any) {
	n.figures.Violations++
	if n.seen[format]++; n.seen[format] <= described {
		n.broken = append(n.broken, fmt.Sprintf("%v: %s", n.now, fmt.Sprintf(format, args...)))
	}
}

// check compares what the policies believe with what the machines say. It runs
// after every event.
func (n *node) check() {
	var active, warm capacity.Budget
	var memory, disk int64
	var busy, waiting int
	for _, m := range n.live { // the hottest loop of a run.
		memory += m.memory
		disk += m.disk
		if m.busy {
			busy++
		}
		sum := &active
		if m.warm {
			sum = &warm
		}
		sum.CPUs += m.budget.CPUs
		sum.MemoryBytes += m.budget.MemoryBytes
		sum.DiskBytes += m.budget.DiskBytes
		sum.Sandboxes += m.budget.Sandboxes
		sum.Launches += m.budget.Launches
		if m.deadline > 0 && n.now > m.deadline && !n.down {
			n.violate("%s is stuck in a transitional state since %v", m.id, m.since)
			m.deadline = 0 // once is enough.
		}
	}
	if memory != n.memory || disk != n.disk || busy != n.jobs {
		n.violate("the simulation miscounts: memory %d of %d, disk %d of %d, jobs %d of %d", n.memory, memory, n.disk, disk, n.jobs, busy)
	}
	if n.down {
		return
	}
	u := n.ledger.Usage()
	if u.Active != active || u.Warm != warm {
		n.violate("the ledger drifts: active %+v of %+v, warm %+v of %+v", u.Active, active, u.Warm, warm)
	}
	if over := active.Plus(warm).Minus(whole); over != (capacity.Budget{}) {
		n.violate("more than the capacity is in use: %+v too much", over)
	}
	for _, w := range n.waiting {
		waiting += len(w)
	}
	if waiting > capacity.DefaultMaxPending {
		n.violate("%d requests wait, more than %d", waiting, capacity.DefaultMaxPending)
	}
}

// checkLeftover is for the end, when all is to be gone.
func (n *node) checkLeftover() {
	before := n.figures.Violations
	defer func() { n.figures.Leftover = n.figures.Violations - before }()
	for _, m := range n.live {
		n.violate("left over: %s in state %d since %v", m.id, m.state, m.since)
	}
	c := n.figures.Counts
	if ended := c.AtOnce + c.Queued + c.Expired + c.Refused; ended != c.Requests {
		n.violate("%d requests, but %d ended", c.Requests, ended)
	}
	u := n.ledger.Usage()
	if used := u.Active.Plus(u.Warm); used != (capacity.Budget{}) {
		n.violate("left over in the ledger: %+v", used)
	}
	if s := n.queue.Stats(); s.Pending != 0 {
		n.violate("left over in the queue: %d", s.Pending)
	}
	for _, s := range n.pool.Stats(n.clock()) {
		if s.Ready+s.Prepared+s.Unfit+s.InFlight > 0 {
			n.violate("left over in the pool: %+v", s)
		}
	}
	if n.memory != 0 || n.disk != 0 || n.jobs != 0 || len(n.byID) != 0 {
		n.violate("left over on the host: %d B of memory, %d B of disk, %d jobs, %d entries", n.memory, n.disk, n.jobs, len(n.byID))
	}
}

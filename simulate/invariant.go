package simulate

import "github.com/rundlet/rundlet/policy/capacity"

// What the checks go by, whatever the policy under test thinks.
var (
	whole = policies().capacity()
	kept  = policies().reserve()
)

// check compares what the policies believe with what the machines say. It runs
// after every event.
func (n *node) check() {
	var active, warm capacity.Budget
	var memory, disk int64
	var busy int
	for _, m := range n.host.machines { // the hottest loop of a run.
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
		if m.deadline > 0 && n.clock.Now() > m.deadline && !n.down {
			n.record.Violate("%s is stuck in a transitional state since %v", m.id, m.since)
			m.deadline = 0 // once is enough.
		}
	}
	if memory != n.host.memory || disk != n.host.disk || busy != n.host.jobs {
		n.record.Violate("the simulation miscounts: memory %d of %d, disk %d of %d, jobs %d of %d", n.host.memory, memory, n.host.disk, disk, n.host.jobs, busy)
	}
	if n.down {
		return
	}
	u := n.daemon.ledger().Usage()
	if u.Active != active || u.Warm != warm {
		n.record.Violate("the ledger drifts: active %+v of %+v, warm %+v of %+v", u.Active, active, u.Warm, warm)
	}
	if over := active.Plus(warm).Minus(whole); over != (capacity.Budget{}) {
		n.record.Violate("more than the capacity is in use: %+v too much", over)
	}
	if waiting, _ := n.daemon.waiting(); waiting > capacity.DefaultMaxPending {
		n.record.Violate("%d requests wait, more than %d", waiting, capacity.DefaultMaxPending)
	}
}

// checkLeftover is for the end, when all is to be gone.
func (n *node) checkLeftover() {
	before := n.record.Violations
	defer func() { n.record.Leftover = n.record.Violations - before }()
	for _, m := range n.host.machines {
		n.record.Violate("left over: %s in state %d since %v", m.id, m.state, m.since)
	}
	c := n.record.Counts
	if ended := c.AtOnce + c.Queued + c.Expired + c.Refused; ended != c.Requests {
		n.record.Violate("%d requests, but %d ended", c.Requests, ended)
	}
	u := n.daemon.ledger().Usage()
	if used := u.Active.Plus(u.Warm); used != (capacity.Budget{}) {
		n.record.Violate("left over in the ledger: %+v", used)
	}
	if _, pending := n.daemon.waiting(); pending != 0 {
		n.record.Violate("left over in the queue: %d", pending)
	}
	entries, pool := n.daemon.entries()
	for _, s := range pool {
		if s.Ready+s.Prepared+s.Unfit+s.InFlight > 0 {
			n.record.Violate("left over in the pool: %+v", s)
		}
	}
	if n.host.memory != 0 || n.host.disk != 0 || n.host.jobs != 0 || entries != 0 {
		n.record.Violate("left over on the host: %d B of memory, %d B of disk, %d jobs, %d entries", n.host.memory, n.host.disk, n.host.jobs, entries)
	}
}

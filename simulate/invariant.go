package simulate

import (
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/simulate/daemon"
)

// What the checks go by, whatever the policy under test thinks.
var (
	whole = daemon.Default().Capacity()
	kept  = daemon.Default().Reserve()
)

// check compares what the policies believe with what the machines say. It runs
// after every event.
func (n *node) check() {
	var active, warm capacity.Budget
	var memory, disk int64
	var busy int
	for _, m := range n.Host.Machines { // the hottest loop of a run.
		memory += m.Memory
		disk += m.Disk
		if m.Busy {
			busy++
		}
		sum := &active
		if m.Warm {
			sum = &warm
		}
		sum.CPUs += m.Budget.CPUs
		sum.MemoryBytes += m.Budget.MemoryBytes
		sum.DiskBytes += m.Budget.DiskBytes
		sum.Sandboxes += m.Budget.Sandboxes
		sum.Launches += m.Budget.Launches
		if m.Deadline > 0 && n.Clock.Now() > m.Deadline && !n.Down {
			n.Record.Violate("%s is stuck in a transitional state since %v", m.ID, m.Since)
			m.Deadline = 0 // once is enough.
		}
	}
	if memory != n.Host.Memory || disk != n.Host.Disk || busy != n.Host.Jobs {
		n.Record.Violate("the simulation miscounts: memory %d of %d, disk %d of %d, jobs %d of %d", n.Host.Memory, memory, n.Host.Disk, disk, n.Host.Jobs, busy)
	}
	if n.Down {
		return
	}
	u := n.daemon.Ledger().Usage()
	if u.Active != active || u.Warm != warm {
		n.Record.Violate("the ledger drifts: active %+v of %+v, warm %+v of %+v", u.Active, active, u.Warm, warm)
	}
	if over := active.Plus(warm).Minus(whole); over != (capacity.Budget{}) {
		n.Record.Violate("more than the capacity is in use: %+v too much", over)
	}
	if waiting, _ := n.daemon.Waiting(); waiting > capacity.DefaultMaxPending {
		n.Record.Violate("%d requests wait, more than %d", waiting, capacity.DefaultMaxPending)
	}
}

// checkLeftover is for the end, when all is to be gone.
func (n *node) checkLeftover() {
	before := n.Record.Violations
	defer func() { n.Record.Leftover = n.Record.Violations - before }()
	for _, m := range n.Host.Machines {
		n.Record.Violate("left over: %s in state %d since %v", m.ID, m.State, m.Since)
	}
	c := n.Record.Counts
	if ended := c.AtOnce + c.Queued + c.Expired + c.Refused; ended != c.Requests {
		n.Record.Violate("%d requests, but %d ended", c.Requests, ended)
	}
	u := n.daemon.Ledger().Usage()
	if used := u.Active.Plus(u.Warm); used != (capacity.Budget{}) {
		n.Record.Violate("left over in the ledger: %+v", used)
	}
	if _, pending := n.daemon.Waiting(); pending != 0 {
		n.Record.Violate("left over in the queue: %d", pending)
	}
	entries, pool := n.daemon.Entries()
	for _, s := range pool {
		if s.Ready+s.Prepared+s.Unfit+s.InFlight > 0 {
			n.Record.Violate("left over in the pool: %+v", s)
		}
	}
	if n.Host.Memory != 0 || n.Host.Disk != 0 || n.Host.Jobs != 0 || entries != 0 {
		n.Record.Violate("left over on the host: %d B of memory, %d B of disk, %d jobs, %d entries", n.Host.Memory, n.Host.Disk, n.Host.Jobs, entries)
	}
}

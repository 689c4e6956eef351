package report

import "github.com/rundlet/rundlet/policy/capacity"

// SafeSpare is total - active - reserved for each resource, at least zero: what
// warm entries may use.
func SafeSpare(total, active, reserved capacity.Budget) capacity.Budget {
	left := func(total, active, reserved int64) int64 { return max(total-active-reserved, 0) }
	return capacity.Budget{
		CPUs:        left(total.CPUs, active.CPUs, reserved.CPUs),
		MemoryBytes: left(total.MemoryBytes, active.MemoryBytes, reserved.MemoryBytes),
		DiskBytes:   left(total.DiskBytes, active.DiskBytes, reserved.DiskBytes),
		Sandboxes:   left(total.Sandboxes, active.Sandboxes, reserved.Sandboxes),
	}
}

// LimitingUtilisation is the largest of ready/spare*100 over processor, memory
// and disk: how much of the resource that runs out first the ready entries use.
// Nothing of nothing is 100 %.
func LimitingUtilisation(ready, spare capacity.Budget) float64 {
	var limiting float64
	for _, r := range [3][2]int64{{ready.CPUs, spare.CPUs}, {ready.MemoryBytes, spare.MemoryBytes}, {ready.DiskBytes, spare.DiskBytes}} {
		switch {
		case r[1] > 0:
			limiting = max(limiting, float64(r[0])/float64(r[1])*100)
		default:
			limiting = max(limiting, 100)
		}
	}
	return limiting
}

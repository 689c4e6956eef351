// Package plan says how much a benchmark measures. It imports nothing of this module; bench
// and cmd may import it.
package plan

import "time"

// Plan says how much is measured.
type Plan struct {
	// Samples of each row; what is dear has fewer, see the methods.
	Samples int
	// Checkouts are the samples of the warm group: the 99th percentile needs many.
	Checkouts int
	// Warmup rounds come first and do not count.
	Warmup int
	// Batches are how often 100 commands are run.
	Batches int
	// Dear is how often that is measured which takes seconds: a pause of a large
	// sandbox, a fork, a burst.
	Dear int
	// DirtyMiB are the sizes of memory that is dirtied before a pause, a snapshot
	// or a fork.
	DirtyMiB []int
	// Children are the sizes of forks, Bursts those of bursts.
	Children, Bursts []int
	// Pool is the size of the pool of a burst and of a refill.
	Pool int
	// FileBytes are the sizes of files.
	FileBytes []int
	// Density is how many sandboxes live side by side, and Idle how long they
	// are left alone.
	Density int
	Idle    time.Duration
	// Asleep is how many sandboxes are left alone that were never used, and Ages are the
	// times after their start at which their memory is looked at.
	Asleep int
	Ages   []time.Duration
	// DownloadMiB is the size of a download from a port of a sandbox, and Requests how many
	// small ones many clients send to it.
	DownloadMiB, Requests int
	// Room is the capacity of the queue's server; Waiting is how many more
	// creates come, and Excess how many that find the queue full.
	Room, Waiting, Excess int
	// Patience is how long anything is waited for.
	Patience time.Duration
}

// Full gives figures that can be decided by.
func Full() Plan {
	return Plan{
		Samples: 100, Checkouts: 500, Warmup: 2, Batches: 100, Dear: 10,
		DirtyMiB: []int{0, 100, 500}, Children: []int{1, 10, 50}, Bursts: []int{10, 50, 100}, Pool: 10,
		FileBytes: []int{1 << 10, 1 << 20, 20 << 20}, Density: 30, Idle: time.Minute,
		Asleep: 100, Ages: []time.Duration{2 * time.Second, 10 * time.Second, time.Minute},
		DownloadMiB: 1024, Requests: 5000,
		Room: 4, Waiting: 12, Excess: 4, Patience: 2 * time.Minute,
	}
}

// Quick shows within a minute or so that all of it works.
func Quick() Plan {
	p := Full()
	p.Samples, p.Checkouts, p.Warmup, p.Batches, p.Dear = 5, 5, 1, 1, 1
	p.DirtyMiB, p.Children, p.Bursts, p.Pool = []int{0, 100}, []int{1, 5}, []int{10}, 3
	p.Density, p.Idle, p.Room, p.Waiting, p.Excess = 3, 10*time.Second, 2, 4, 2
	p.DownloadMiB, p.Requests = 64, 500
	p.Asleep, p.Ages = 5, []time.Duration{2 * time.Second, 10 * time.Second}
	return p
}

// Few is how often something is done that handles n sandboxes at once.
func (p Plan) Few(n int) int { return max(p.Dear/max(1, n/3), min(3, p.Dear)) }

// MemoryMiB is what a sandbox needs for the largest size.
func (p Plan) MemoryMiB() int {
	most := 0
	for _, mib := range p.DirtyMiB {
		most = max(most, mib)
	}
	// The rest is the guest's own, and what a copy of a file takes.
	return 512 + most
}

// Repeats is how often something that saves so much memory is done.
func (p Plan) Repeats(mib int) int {
	switch {
	case mib == 0:
		return min(3*p.Dear, p.Samples)
	case mib > 200:
		return max(1, p.Dear/2)
	}
	return p.Dear
}

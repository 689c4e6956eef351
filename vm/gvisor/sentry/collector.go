//go:build linux

package sentry

import (
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/rundlet/rundlet/internal/collector"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/memory"
)

const (
	// startHeap is how much a sandbox process may allocate before it collects
	// garbage while it starts.
	startHeap = 64 << 20
	// startTime is when the start is over, restore included, on a busy machine too.
	startTime = 5 * time.Second
)

// tuneCollector makes a sandbox process collect no garbage while it starts or
// restores, which was a sixth of the processor time of a create, and then half
// the usual garbage, which saves a fifth of an idle sandbox's memory; and none while it
// is idle.
func tuneCollector() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(startHeap)
	time.AfterFunc(startTime, func() {
		collector.Rest(50, math.MaxInt64)
		debug.FreeOSMemory()
		returnGarbage()
	})
}

const (
	// idleGarbage is how much a sandbox process keeps for its next objects.
	idleGarbage = 48 * budget.MiB
	// garbageAge is how long what a save left is kept for a save that follows.
	garbageAge = 2 * time.Second
)

// returnGarbage gives memory back to the host some time after a collection of
// garbage that found much of it unused. A save leaves several times what the
// sandbox needs, and Go would take minutes to return it.
func returnGarbage() {
	timer := time.AfterFunc(garbageAge, func() {
		if memory.HeapInUse()-memory.LiveHeap() > idleGarbage {
			debug.FreeOSMemory()
		}
	})
	// Nothing refers to it, so its cleanup runs with the next collection of garbage.
	// It is too large to share memory with what lives longer.
	type sentinel [64]byte
	var arm func()
	arm = func() {
		runtime.AddCleanup(new(sentinel), func(int) {
			timer.Reset(garbageAge)
			arm()
		}, 0)
	}
	arm()
}

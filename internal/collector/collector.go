// Package collector keeps Go's collector of garbage from waking an idle process. It imports
// the standard library only.
package collector

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// period is how long after the last collection Go makes one although nothing was
	// allocated. It reads and writes the whole heap: of a process that is paged out,
	// all comes back.
	period = 2 * time.Minute
	// growth is how much an idle process allocates until garbage is collected again, and share
	// the least part of what it has: Go keeps some hundredths of its goal free below the limit.
	growth, share = 4 << 20, 16
)

// Rest sets the percentage and the memory limit of garbage collection, and lets at most
// one collection be made for the passing of time only, until the process has allocated
// something again. It is called once in a process that calls debug.SetGCPercent and
// debug.SetMemoryLimit nowhere else afterwards.
func Rest(percent int, limit int64) {
	set := func(percent int, limit int64) {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	}
	set(percent, limit)
	resting := false
	rest(time.Now, func(idle bool) {
		if !idle {
			if resting { // Each setting stops all goroutines: not after every collection.
				set(percent, limit)
			}
			resting = false
			return
		}
		resting = true
		// Without a percentage only the limit begins a collection, and it is not
		// below what the process has.
		set(-1, restLimit(used(), limit))
	})
}

// restLimit is the limit of an idle process that uses so many bytes, and is limited otherwise.
func restLimit(used, limit int64) int64 { return min(limit, used+max(growth, used/share)) }

// rest calls set after each collection. idle: it was made because nothing happened.
func rest(now func() time.Time, set func(idle bool)) {
	last := now()
	var arm func()
	// Nothing refers to it, so its cleanup runs after the next collection. It is too large
	// to share memory with what lives longer.
	type sentinel [64]byte
	arm = func() {
		runtime.AddCleanup(new(sentinel), func(int) {
			at := now()
			set(at.Sub(last) >= period)
			last = at
			arm()
		}, 0)
	}
	arm()
}

// used is the memory that counts for the limit, in bytes.
func used() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() != metrics.KindUint64 {
			return math.MaxInt64 - growth
		}
	}
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

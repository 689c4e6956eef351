package collector

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"
)

// noticed is a collection as rest reports it.
type noticed struct {
	at   time.Duration
	idle bool
}

// collect makes a collection at a time, and returns what it was taken for. One that comes before
// rest waits for the next again is not noticed, so there may be more of them.
func collect(t *testing.T, clock *atomic.Int64, at time.Duration, all chan noticed) bool {
	t.Helper()
	clock.Store(int64(at))
	for range 300 {
		runtime.GC()
		again := time.After(100 * time.Millisecond)
		for {
			select {
			case got := <-all:
				if got.at == at { // And not a late one of the time before.
					return got.idle
				}
				continue
			case <-again:
			}
			break
		}
	}
	t.Fatal("no collection was noticed")
	return false
}

func TestOnlyACollectionAfterAQuietTimeMeansIdle(t *testing.T) {
	var clock atomic.Int64
	all := make(chan noticed, 1000)
	rest(func() time.Time { return time.Unix(0, clock.Load()) }, func(idle bool) {
		all <- noticed{time.Duration(clock.Load()), idle}
	})
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{{time.Minute, false}, {3*time.Minute - 1, false}, {5*time.Minute - 1, true}, {10 * time.Minute, true}, {11 * time.Minute, false}} {
		if got := collect(t, &clock, c.at, all); got != c.want {
			t.Errorf("after %v: idle is %v, want %v", c.at, got, c.want)
		}
	}
}

func TestTheLimitIsNotBelowWhatIsUsed(t *testing.T) {
	keep := make([]byte, 32<<20)
	for i := range keep {
		keep[i] = 1
	}
	if got := used(); got < int64(len(keep)) || got > math.MaxInt32 {
		t.Errorf("%d bytes are used, with %d in one object", got, len(keep))
	}
	runtime.KeepAlive(keep)
}

func TestRestSetsPercentageAndLimit(t *testing.T) {
	percent, limit := debug.SetGCPercent(70), debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	Rest(50, 1<<40)
	if got := debug.SetMemoryLimit(-1); got != 1<<40 {
		t.Errorf("the limit is %d", got)
	}
	if got := debug.SetGCPercent(50); got != 50 {
		t.Errorf("the percentage is %d", got)
	}
}

// Go begins a collection some hundredths of the limit below it: a large process needs a larger
// part of it free than a small one.
func TestALargeProcessRestsToo(t *testing.T) {
	const mib = 1 << 20
	for used, want := range map[int64]int64{10 * mib: 14 * mib, 64 * mib: 68 * mib, 220 * mib: 220*mib + 220*mib/16} {
		if got := restLimit(used, math.MaxInt64); got != want {
			t.Errorf("of %d bytes: %d, want %d", used, got, want)
		}
	}
	if got := restLimit(60*mib, 62*mib); got != 62*mib {
		t.Errorf("beyond the process's own limit: %d", got)
	}
}

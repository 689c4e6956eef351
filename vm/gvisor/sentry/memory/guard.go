//go:build linux

// Package memory keeps the memory of a guest below the limit of its sandbox.
//
// It may import gVisor, budget and calls; package sentry imports it.
package memory

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/mm"

	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// Guard is the out-of-memory killer that gVisor does not have. It lives
// in the sandbox process and keeps the guest's memory, and what the guest's own
// kernel needs for it, below the limit of the control group, where the host
// would end the whole sandbox. It has no ticker: the guest's own system calls and
// page faults drive it, since nothing else makes memory grow.
type Guard struct {
	budget budget.Budget
	now    func() int64 // Monotonic nanoseconds.

	next     atomic.Int64 // When to measure again.
	nextOwn  atomic.Int64 // When to read own again.
	own      atomic.Int64 // The sandbox processes' own memory, as last read.
	used     atomic.Int64 // Guest memory and the overhead above the allowance.
	overhead atomic.Int64
	freeing  atomic.Bool  // Memory will be freed, by a collection or the end of a process.
	tasks    atomic.Int64 // The sandbox's processes and threads on the host, as last read.
	count    *os.File     // Says that; nil if nothing limits them.
	taken    atomic.Int64 // What calls under way may take in one step.

	mu      sync.Mutex // Held by the task that makes room.
	victim  *kernel.ThreadGroup
	killed  int64 // When the last process was killed.
	collect int64 // When garbage may be collected again.
}

const (
	guardInterval    = int64(time.Millisecond)
	guardOwnInterval = 10 * int64(time.Millisecond)
	// victimTime is how long a killed process may take to end before another one is
	// chosen, killInterval how long its memory may take to be freed then.
	victimTime   = 3 * int64(time.Second)
	killInterval = 50 * int64(time.Millisecond)
	// urgentInterval is killInterval while half of the slack is gone.
	urgentInterval = 5 * int64(time.Millisecond)
	// collectInterval is the least time between collections of garbage, and
	// collectShare how much longer it is than what the last one took.
	collectInterval = 50 * int64(time.Millisecond)
	collectShare    = 4
	// leastStall and mostStall are how long a task waits for memory to be freed,
	// the longer the less of the slack is left.
	leastStall = 2 * time.Millisecond
	mostStall  = 50 * time.Millisecond
	// leastVictim is the smallest process worth killing.
	leastVictim = 1 << 20
)

func New(b budget.Budget) *Guard {
	start := time.Now()
	return &Guard{budget: b, now: func() int64 { return int64(time.Since(start)) }}
}

// Passed is called by a task goroutine between the guest's code and its kernel,
// where it holds no lock.
func (g *Guard) Passed(t *kernel.Task, fault bool) {
	now, next := g.now(), g.next.Load()
	if now < next || !g.next.CompareAndSwap(next, now+guardInterval) {
		if wait := g.stall(fault); wait > 0 {
			<-time.After(wait)
		}
		return
	}
	if !g.measure(t.Kernel(), now) {
		return
	}
	if g.used.Load() > g.budget.Memory && g.mu.TryLock() {
		g.makeRoom(t.Kernel(), now)
		g.mu.Unlock()
	}
}

// stall is how long a task is held up that is about to take memory.
func (g *Guard) stall(fault bool) time.Duration {
	over := g.used.Load() - g.budget.Memory
	if over <= 0 || !g.freeing.Load() || !fault && over < g.budget.Slack()/4 {
		return 0
	}
	return min(mostStall, leastStall+time.Duration(int64(mostStall)*over/g.budget.Slack()))
}

// measure reads the memory in use: two reads of counters, no scan.
func (g *Guard) measure(k *kernel.Kernel, now int64) bool {
	guest, err := k.MemoryFile().TotalUsage()
	if err != nil {
		return false
	}
	if next := g.nextOwn.Load(); now >= next && g.nextOwn.CompareAndSwap(next, now+guardOwnInterval) {
		processes := len(k.RootPIDNamespace().ThreadGroups())
		g.own.Store(HeapInUse() + int64(processes)*budget.ProcessCost)
		g.readTasks()
	}
	overhead := g.own.Load()
	g.overhead.Store(overhead)
	g.used.Store(int64(guest) + max(0, overhead-g.budget.Allowance))
	return true
}

// HeapInUse is the memory that the sandbox process has of the host for itself.
func HeapInUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// LiveHeap is the heap in use at the last garbage collection.
func LiveHeap() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64())
}

// makeRoom returns garbage to the host and, if that is not enough, kills the
// largest process. The caller holds g.mu.
func (g *Guard) makeRoom(k *kernel.Kernel, now int64) {
	g.freeing.Store(true)
	if g.returnGarbage(k, now) {
		now = g.now()
	} else if g.mayBeGarbage() {
		return
	}
	over := g.used.Load() - g.budget.Memory
	if over <= 0 {
		return
	}
	if g.victim != nil {
		interval := killInterval
		if over > g.budget.Slack()/2 {
			interval = urgentInterval
		} else if g.victim.Count() > 0 {
			interval = victimTime
		}
		if now-g.killed < interval {
			return
		}
	}
	g.victim = largest(k)
	g.freeing.Store(g.victim != nil)
	if g.victim != nil {
		g.killed = now
		_ = g.victim.SendSignal(&linux.SignalInfo{Signo: int32(linux.SIGKILL), Code: linux.SI_KERNEL})
	}
}

// mayBeGarbage reports whether the next collection is worth waiting for, before a
// process is killed: the guest alone is within its memory, and there is slack.
func (g *Guard) mayBeGarbage() bool {
	used := g.used.Load()
	guest := used - max(0, g.overhead.Load()-g.budget.Allowance)
	return guest <= g.budget.Memory && used-g.budget.Memory < g.budget.Slack()*3/4
}

// returnGarbage returns garbage to the host and measures again, unless that was
// done a moment ago or cannot help. The caller holds g.mu.
func (g *Guard) returnGarbage(k *kernel.Kernel, now int64) bool {
	if g.overhead.Load() <= g.budget.Allowance || now < g.collect {
		return false
	}
	debug.FreeOSMemory()
	g.nextOwn.Store(0)
	end := g.now()
	g.collect = end + max(collectInterval, collectShare*(end-now))
	return g.measure(k, end)
}

// hasRoom reports whether there is room, if need be once garbage was returned:
// nothing is refused for the sake of garbage.
func (g *Guard) hasRoom(k *kernel.Kernel, room func() bool) bool {
	if room() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return (room() || g.returnGarbage(k, g.now())) && room()
}

// largest returns the process with the most memory, but never the first one,
// whose end would be that of the sandbox.
func largest(k *kernel.Kernel) (victim *kernel.ThreadGroup) {
	most := uint64(leastVictim)
	for _, tg := range k.RootPIDNamespace().ThreadGroups() {
		leader := tg.Leader()
		if leader == nil || tg == k.GlobalInit() {
			continue
		}
		if rss, ok := resident(leader); ok && rss >= most {
			victim, most = tg, rss
		}
	}
	return victim
}

// resident is the memory of a process; false if it is ending.
func resident(leader *kernel.Task) (bytes uint64, ok bool) {
	var m *mm.MemoryManager
	leader.WithMuLocked(func(t *kernel.Task) {
		if m = t.MemoryManager(); m != nil && !m.IncUsers() {
			m = nil
		}
	})
	if m == nil {
		return 0, false
	}
	defer m.DecUsers(leader.AsyncContext())
	return m.ResidentSetSize(), true
}

// roomFor reports whether the guest's kernel may take bytes for a new object.
// It may, as long as it has some of its allowance left or the guest leaves more
// than the reserve of its memory unused.
func (g *Guard) roomFor(bytes, reserve int64) bool {
	return g.overhead.Load()+bytes <= g.budget.Allowance || g.used.Load()+bytes <= g.budget.Memory-reserve
}

// mayClone reports whether a process may make another one, or a thread. The
// first process, which is the way into the sandbox, may use the reserve and some
// of the slack, and its threads are never refused: without one it would end, and
// the sandbox with it.
func (g *Guard) mayClone(first, thread bool) bool {
	switch free := g.budget.Memory - g.used.Load(); {
	case first && thread:
		return true
	case !g.hasTasks(first):
		return false
	case first:
		return free > -g.budget.Slack()/2
	case thread:
		return free > 0 && g.roomFor(budget.NewThreadCost, g.budget.Reserve/2)
	default:
		return free > budget.NewProcessCost && g.roomFor(budget.NewProcessCost, g.budget.Reserve)
	}
}

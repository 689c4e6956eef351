package machine

import (
	"context"
	"runtime"
	"time"

	"github.com/rundlet/rundlet/policy/share"
	"github.com/rundlet/rundlet/vm"
)

// How often Share looks at what the keys use: often while they use the processors.
const (
	shareOften  = time.Second
	shareSeldom = 4 * time.Second
	// shareBusy is the use, in processors, above which it looks often.
	shareBusy = 0.25
)

// Share makes keys yield the processors to those that work and use less than their fair
// share, until ctx ends; see policy/share. Without it a command of a client that
// does little waits behind the many threads of one that takes what it can get: by
// weight alone, the kernel (6.18) made it wait for hundreds of milliseconds.
func (m *Machines) Share(ctx context.Context) {
	counter, counts := m.cfg.Driver.(vm.Statser)
	if m.weights.driver == nil || !counts {
		return
	}
	s := sharing{weights: m.weights, counter: counter, processors: runtime.NumCPU()}
	timer := time.NewTimer(shareOften)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if s.look(ctx, time.Now()) >= shareBusy {
			timer.Reset(shareOften)
		} else {
			timer.Reset(shareSeldom)
		}
	}
}

// sharing is what Share knows from one look to the next.
type sharing struct {
	weights    *weights
	counter    vm.Statser
	processors int
	use        share.Use
	last       time.Time
	// seen is the processor time that each machine had used.
	seen map[string]time.Duration
}

// look measures the machines, sets who yields, and returns how many processors all
// machines used since the last time.
func (s *sharing) look(ctx context.Context, now time.Time) (busy float64) {
	machines, keys := s.weights.all()
	if keys < 2 && s.use.Alone() { // No key is to yield, and what this one uses is not measured.
		s.use, s.last = share.Use{}, time.Time{}
		return 0
	}
	seen, used := map[string]time.Duration{}, map[string]share.Used{}
	var all time.Duration
	for id, of := range machines {
		stats, err := s.counter.Stats(ctx, id)
		if err != nil {
			continue // It ends, or is not made yet.
		}
		seen[id] = stats.CPUTime
		// A machine that is new, or is another one by now, began with none.
		spent := stats.CPUTime
		if was, known := s.seen[id]; known && was <= spent {
			spent -= was
		}
		used[of.key] = share.Used{Time: used[of.key].Time + spent, Parts: of.level}
		all += spent
	}
	elapsed := now.Sub(s.last)
	first := s.last.IsZero()
	s.seen, s.last = seen, now
	if first || elapsed <= 0 {
		return 0 // What an earlier process left has used its time before.
	}
	s.weights.yield(ctx, s.use.Observe(elapsed, s.processors, used))
	return all.Seconds() / elapsed.Seconds()
}

// member is the key of a machine, and the number of parts into which its weight is divided.
type member struct {
	key   string
	level int
}

// all returns the machines of keys by id, and the number of their keys. Machines
// without a key, such as warm ones, neither yield nor are yielded to: they are for later.
// On a host that divides nothing it returns none.
func (w *weights) all() (machines map[string]member, keys int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused {
		return nil, 0
	}
	machines = make(map[string]member, len(w.of))
	for id, key := range w.of {
		if key != "" {
			machines[id] = member{key, w.keys[key].level}
		}
	}
	keys = len(w.keys)
	if w.keys[""] != nil {
		keys--
	}
	return machines, keys
}

// yield sets the keys that yield, and that the others do not.
func (w *weights) yield(ctx context.Context, keys map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.yielding = keys
	for key, k := range w.keys {
		if k.yields != keys[key] {
			k.yields = keys[key]
			w.apply(ctx, k)
		}
	}
}

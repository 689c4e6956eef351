package machine

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/rundlet/rundlet/vm"
)

// weights divides the processors between the API keys, whatever they run: the
// machines of a key have the weight of one machine together, when others want the
// processors too. Machines without a key, such as warm ones, count as one key. Safe
// for concurrent use.
type weights struct {
	driver vm.Weigher // nil: the driver divides nothing
	log    *slog.Logger

	mu   sync.Mutex // guards what follows; held across SetWeight, which answers at once
	of   map[string]string
	keys map[string]*keyWeight
}

// keyWeight is what the machines of a key have.
type keyWeight struct {
	machines map[string]struct{}
	// level is a power of two, at least the number of machines: each has one part
	// of that many. It changes seldom, so that a machine more or less does not
	// change the weights of all others.
	level int
}

func newWeights(driver vm.Runtime, log *slog.Logger) *weights {
	weigher, _ := driver.(vm.Weigher)
	return &weights{driver: weigher, log: log, of: map[string]string{}, keys: map[string]*keyWeight{}}
}

// join counts a machine for a key, and for no other, and returns its weight: 0
// where the driver has none. A machine that exists gets it.
func (w *weights) join(ctx context.Context, id, key string) int {
	if w.driver == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, ok := w.of[id]; ok && was != key {
		w.remove(ctx, id)
	}
	k := w.keys[key]
	if k == nil {
		k = &keyWeight{machines: map[string]struct{}{}, level: 1}
		w.keys[key] = k
	}
	w.of[id] = key
	k.machines[id] = struct{}{}
	if !w.relevel(ctx, k) {
		w.set(ctx, id, k.weight())
	}
	return k.weight()
}

// leave takes a machine out of the count. It can be repeated.
func (w *weights) leave(ctx context.Context, id string) {
	if w.driver == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(ctx, id)
}

// remove is leave for a caller that has w.mu.
func (w *weights) remove(ctx context.Context, id string) {
	key, ok := w.of[id]
	if !ok {
		return
	}
	delete(w.of, id)
	k := w.keys[key]
	if delete(k.machines, id); len(k.machines) == 0 {
		delete(w.keys, key)
		return
	}
	w.relevel(ctx, k)
}

// weight is that of each machine of a key.
func (k *keyWeight) weight() int { return max(vm.MinWeight, vm.MaxWeight/k.level) }

// relevel reports whether the number of a key's machines asks for another level,
// and changes their weights then. Down it waits until a quarter of the lower level
// is free, so that a number at the edge does not change them each time.
func (w *weights) relevel(ctx context.Context, k *keyWeight) bool {
	level, n := k.level, len(k.machines)
	for n > level {
		level *= 2
	}
	for level > 1 && n <= level/2-level/8 {
		level /= 2
	}
	if level == k.level {
		return false
	}
	k.level = level
	for id := range k.machines {
		w.set(ctx, id, k.weight())
	}
	return true
}

// set changes the weight of a machine that exists.
func (w *weights) set(ctx context.Context, id string, weight int) {
	// The weights of others are not to depend on the caller whose request changes them.
	err := w.driver.SetWeight(context.WithoutCancel(ctx), id, weight)
	if err != nil && !errors.Is(err, vm.ErrNotFound) && !errors.Is(err, vm.ErrInvalidTransition) && !errors.Is(err, vm.ErrUnsupported) {
		w.log.Warn("could not divide the processors", "machine_id", id, "weight", weight, "error", err)
	}
}

// Assign makes a machine that exists count for a key: a sandbox of an earlier
// process, or a warm machine that becomes one.
func (m *Machines) Assign(ctx context.Context, id, key string) { m.weights.join(ctx, id, key) }

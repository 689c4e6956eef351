package machine

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// counted is a scale that also counts processor time.
type counted struct {
	scale
	spent map[string]time.Duration
}

func (c *counted) Stats(_ context.Context, id string) (vm.Stats, error) {
	if _, ok := c.have[id]; !ok {
		return vm.Stats{}, fmt.Errorf("machine %s: %w", id, vm.ErrNotFound)
	}
	return vm.Stats{CPUTime: c.spent[id]}, nil
}

// sharing returns what measures these machines, on two processors.
func (c *counted) sharing(w *weights) *sharing {
	return &sharing{weights: w, counter: c, processors: 2, last: time.Unix(1, 0)}
}

// run lets some seconds pass in which machines use processor time, in milliseconds
// each second.
func (c *counted) run(t *testing.T, s *sharing, n int, ms map[string]int) {
	t.Helper()
	for range n {
		for id, used := range ms {
			c.spent[id] += time.Duration(used) * time.Millisecond
		}
		s.look(t.Context(), s.last.Add(time.Second))
	}
}

func TestAKeyThatTakesTheProcessorsYieldsToOneThatDoesLittle(t *testing.T) {
	c := &counted{scale: scale{have: map[string]int{}}, spent: map[string]time.Duration{}}
	w := newWeights(c, slog.New(slog.DiscardHandler))
	s := c.sharing(w)
	c.add(t, w, "good", "one")
	c.add(t, w, "bad0", "many")
	c.add(t, w, "bad1", "many")
	check := func(what string, good, bad int) {
		t.Helper()
		for id, want := range map[string]int{"good": good, "bad0": bad, "bad1": bad} {
			if c.have[id] != want {
				t.Errorf("%s: machine %s has the weight %d, want %d", what, id, c.have[id], want)
			}
		}
	}
	busy := map[string]int{"good": 300, "bad0": 800, "bad1": 800}
	c.run(t, s, 3, busy)
	check("beside a busy key", vm.MaxWeight, vm.MinWeight)
	changes := c.changes
	c.run(t, s, 5, busy)
	if c.changes != changes {
		t.Errorf("the weights are set %d times without a reason", c.changes-changes)
	}
	for _, id := range []string{"bad0", "bad1"} { // All of its machines end, and it makes others.
		w.leave(t.Context(), id)
		delete(c.have, id)
	}
	c.add(t, w, "bad0", "many")
	c.add(t, w, "bad1", "many")
	check("with other machines", vm.MaxWeight, vm.MinWeight)
	c.add(t, w, "bad2", "many")
	if c.have["bad2"] != vm.MinWeight {
		t.Errorf("a new machine of a key that yields has the weight %d", c.have["bad2"])
	}
	c.run(t, s, 5, map[string]int{"bad0": 800, "bad1": 800})
	check("beside a key that does nothing", vm.MaxWeight, vm.MaxWeight/4)
	c.run(t, s, 3, busy)
	w.leave(t.Context(), "good")
	delete(c.have, "good")
	c.run(t, s, 2, busy)
	if c.have["bad0"] != vm.MinWeight {
		t.Errorf("beside a client between two sandboxes, a machine has the weight %d, want %d", c.have["bad0"], vm.MinWeight)
	}
	c.run(t, s, 9, busy)
	if c.have["bad0"] != vm.MaxWeight/4 {
		t.Errorf("alone, a machine has the weight %d, want %d", c.have["bad0"], vm.MaxWeight/4)
	}
}

// What a key used while there was no other is not held against it.
func TestAKeyThatWasAloneIsJudgedByWhatItUsesNow(t *testing.T) {
	c := &counted{scale: scale{have: map[string]int{}}, spent: map[string]time.Duration{}}
	w := newWeights(c, slog.New(slog.DiscardHandler))
	s := c.sharing(w)
	c.add(t, w, "old", "one")
	for range 60 {
		c.spent["old"] += 2 * time.Second
		s.look(t.Context(), s.last.Add(time.Second))
	}
	c.add(t, w, "new", "other")
	at := time.Unix(62, 0)
	for i := range 5 {
		if i == 3 {
			c.spent["old"] = 0 // Restored: another machine counts anew.
		}
		c.spent["old"] += 10 * time.Millisecond
		c.spent["new"] += 100 * time.Millisecond
		if busy := s.look(t.Context(), at); busy < 0 {
			t.Errorf("%.2f processors are used", busy)
		}
		at = at.Add(time.Second)
		if c.have["old"] != vm.MaxWeight {
			t.Fatalf("it has the weight %d", c.have["old"])
		}
	}
}

// A warm machine that is made is not what sandboxes are to wait for, and on a host that
// divides no processors nothing is measured.
func TestWhoNeverYieldsAndIsNeverYieldedTo(t *testing.T) {
	c := &counted{scale: scale{have: map[string]int{}}, spent: map[string]time.Duration{}}
	w := newWeights(c, slog.New(slog.DiscardHandler))
	s := c.sharing(w)
	c.add(t, w, "warm", "")
	c.add(t, w, "a", "one")
	c.add(t, w, "b", "one")
	c.run(t, s, 5, map[string]int{"warm": 100, "a": 900, "b": 900})
	if c.have["a"] != vm.MaxWeight/2 || c.have["warm"] != vm.MaxWeight {
		t.Errorf("beside a warm machine: %v", c.have)
	}
	c.add(t, w, "c", "two")
	c.run(t, s, 5, map[string]int{"warm": 1500, "c": 100})
	if c.have["warm"] != vm.MaxWeight {
		t.Errorf("the warm machine: %v", c.have)
	}
	c.err = fmt.Errorf("%w: no control groups", vm.ErrUnsupported)
	w.join(t.Context(), "d", "two")
	if machines, keys := w.all(); len(machines) != 0 || keys != 0 {
		t.Errorf("%v of %d keys are measured", machines, keys)
	}
}

// What machines used before an earlier process ended is not used now.
func TestTheFirstLookJudgesNobody(t *testing.T) {
	c := &counted{scale: scale{have: map[string]int{}}, spent: map[string]time.Duration{"bad": time.Hour, "good": time.Minute}}
	w := newWeights(c, slog.New(slog.DiscardHandler))
	s := &sharing{weights: w, counter: c, processors: 2}
	c.add(t, w, "good", "one")
	c.add(t, w, "bad", "other")
	s.look(t.Context(), time.Unix(1, 0))
	if got := s.look(t.Context(), time.Unix(2, 0)); got != 0 || c.have["bad"] != vm.MaxWeight {
		t.Errorf("%.2f processors are used, and the weight is %d", got, c.have["bad"])
	}
}

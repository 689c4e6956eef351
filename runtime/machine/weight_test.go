package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// scale is a driver whose machines have weights, and which counts their changes.
type scale struct {
	vm.Runtime
	have    map[string]int
	changes int
	err     error
}

func (s *scale) SetWeight(_ context.Context, id string, weight int) error {
	if s.err != nil {
		return s.err
	}
	if _, ok := s.have[id]; !ok {
		return fmt.Errorf("machine %s: %w", id, vm.ErrNotFound)
	}
	s.have[id] = weight
	s.changes++
	return nil
}

// add makes a machine as Restore does.
func (s *scale) add(t *testing.T, w *weights, id, key string) {
	t.Helper()
	s.have[id] = w.join(t.Context(), id, key)
	w.join(t.Context(), id, key)
}

func TestEachKeyHasTheWeightOfOneMachineHoweverManyItHas(t *testing.T) {
	s := &scale{have: map[string]int{}}
	w := newWeights(s, slog.New(slog.DiscardHandler))
	s.add(t, w, "good", "one")
	for i := range 20 {
		s.add(t, w, fmt.Sprint("many", i), "many")
	}
	s.add(t, w, "warm", "")
	sum := func() (all int) {
		for id, weight := range s.have {
			if w.of[id] == "many" {
				all += weight
			}
		}
		return all
	}
	if got := sum(); got < vm.MaxWeight/2 || got > vm.MaxWeight {
		t.Errorf("the machines of a key that only grew have the weight %d together, want between %d and %d", got, vm.MaxWeight/2, vm.MaxWeight)
	}
	for i := 13; i < 20; i++ { // The most that can leave without another level.
		w.leave(t.Context(), fmt.Sprint("many", i))
		delete(s.have, fmt.Sprint("many", i))
	}
	sums := map[string]int{}
	for id, weight := range s.have {
		sums[w.of[id]] += weight
	}
	// A level is a power of two, and stays until a quarter of the lower one is free.
	if sums["many"] > vm.MaxWeight || sums["many"] < vm.MaxWeight*3/8 {
		t.Errorf("the machines of a key that shrank have the weight %d together, want between %d and %d", sums["many"], vm.MaxWeight*3/8, vm.MaxWeight)
	}
	for _, key := range []string{"one", ""} {
		if sums[key] != vm.MaxWeight {
			t.Errorf("the only machine of key %q has the weight %d, want %d", key, sums[key], vm.MaxWeight)
		}
	}
	for id, weight := range s.have {
		if w.of[id] == "many" && weight != s.have["many0"] {
			t.Errorf("machine %s has the weight %d, another of its key %d", id, weight, s.have["many0"])
		}
	}
}

func TestAMachineThatLeavesOrChangesItsKeyCountsNoMore(t *testing.T) {
	s := &scale{have: map[string]int{}}
	w := newWeights(s, slog.New(slog.DiscardHandler))
	for i := range 8 {
		s.add(t, w, fmt.Sprint(i), "")
	}
	w.join(t.Context(), "0", "k") // Handed over.
	if s.have["0"] != vm.MaxWeight {
		t.Errorf("the machine that was handed over has the weight %d, want that of the only one of its key", s.have["0"])
	}
	for i := range 7 {
		delete(s.have, fmt.Sprint(i))
		w.leave(t.Context(), fmt.Sprint(i))
		w.leave(t.Context(), fmt.Sprint(i))
	}
	if want := map[string]int{"7": vm.MaxWeight}; !maps.Equal(s.have, want) {
		t.Errorf("the last machine has the weight %v, want %v", s.have, want)
	}
	w.leave(t.Context(), "7")
	if len(w.of)+len(w.keys) != 0 {
		t.Errorf("%v and %v are left of machines that are gone", w.of, w.keys)
	}
}

func TestAMachineMoreOrLessChangesFewWeights(t *testing.T) {
	s := &scale{have: map[string]int{}}
	w := newWeights(s, slog.New(slog.DiscardHandler))
	const n = 256
	for i := range n {
		s.add(t, w, fmt.Sprint(i), "k")
	}
	// Its own twice, and one of another at each doubling.
	if s.changes > 4*n {
		t.Errorf("%d machines changed weights %d times", n, s.changes)
	}
	s.changes = 0
	const rounds = 100
	for range rounds { // At the edge of a level.
		s.add(t, w, "more", "k")
		w.leave(t.Context(), "more")
		delete(s.have, "more")
	}
	if most := 2*n + 2*rounds; s.changes > most {
		t.Errorf("a machine that comes and goes %d times changed weights %d times, want %d at most", rounds, s.changes, most)
	}
}

func TestADriverThatDividesNothingIsNotAsked(t *testing.T) {
	w := newWeights(struct{ vm.Runtime }{}, slog.New(slog.DiscardHandler))
	if weight := w.join(t.Context(), "a", "k"); weight != 0 {
		t.Errorf("the weight is %d, want none", weight)
	}
	w.leave(t.Context(), "a")
}

func TestAWeightThatCannotBeSetFailsNoCall(t *testing.T) {
	s := &scale{have: map[string]int{"a": 1}, err: errors.New("read-only file system")}
	w := newWeights(s, slog.New(slog.DiscardHandler))
	if weight := w.join(t.Context(), "a", "k"); weight != vm.MaxWeight {
		t.Errorf("the weight is %d, want %d", weight, vm.MaxWeight)
	}
}

package vmtest

import (
	"github.com/rundlet/rundlet/vm"
)

func (e *env) weigher() vm.Weigher { return e.d.(vm.Weigher) }

// weighs checks the weight of a machine, where the driver can show it.
func (e *env) weighs(id string, want int) {
	e.Helper()
	if !e.implements(vm.CapabilityStats) {
		return
	}
	stats, err := e.d.(vm.Statser).Stats(e.ctx, id)
	e.ok(err)
	if stats.Weight != want {
		e.Errorf("machine %s has the weight %d, want %d", id, stats.Weight, want)
	}
}

// weighed makes a running machine with a weight.
func (e *env) weighed(id string, weight int) {
	e.Helper()
	e.with(id, func(s *vm.Spec) { s.Weight = weight })
}

var weightRules = []rule{
	{name: "weight/is-that-of-the-spec-also-on-restore", capability: vm.CapabilityWeight, run: func(e *env) {
		e.weighed("a", 250)
		e.running("b")
		e.weighs("a", 250)
		e.weighs("b", vm.DefaultWeight)
		e.snapshot("a", "one")
		e.restore("c", "a", "one", true)
		e.weighs("c", vm.DefaultWeight)
		s := e.restoreSpec("a", "one", true)
		s.Weight = vm.MaxWeight
		e.ok(e.d.Create(e.ctx, "d", s))
		e.weighs("d", vm.MaxWeight)
		for _, bad := range []int{-1, vm.MaxWeight + 1} {
			s := e.spec()
			s.Weight = bad
			e.is(e.d.Create(e.ctx, "e", s), vm.ErrInvalid)
			e.unknown("e")
		}
	}},
	{name: "weight/changes-in-every-state-but-destroyed", capability: vm.CapabilityWeight, run: func(e *env) {
		e.is(e.weigher().SetWeight(e.ctx, "a", 1), vm.ErrNotFound)
		change := func(weight int) {
			e.Helper()
			e.ok(e.weigher().SetWeight(e.ctx, "a", weight))
			e.weighs("a", weight)
		}
		e.created("a")
		change(vm.MinWeight)
		e.ok(e.d.Start(e.ctx, "a"))
		e.weighs("a", vm.MinWeight)
		change(300)
		e.ok(e.d.Stop(e.ctx, "a"))
		e.weighs("a", 300)
		change(vm.MaxWeight)
		for _, bad := range []int{-1, 0, vm.MaxWeight + 1} {
			e.is(e.weigher().SetWeight(e.ctx, "a", bad), vm.ErrInvalid)
		}
		e.weighs("a", vm.MaxWeight)
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.is(e.weigher().SetWeight(e.ctx, "a", 1), vm.ErrInvalidTransition)
	}},
	{name: "weight/goes-with-the-machine", capability: vm.CapabilityWeight, run: func(e *env) {
		e.weighed("a", 250)
		if e.implements(vm.CapabilityRename) {
			e.ok(e.renamer().Rename(e.ctx, "a", "b"))
			e.weighs("b", 250)
			e.ok(e.weigher().SetWeight(e.ctx, "b", 350))
			e.ok(e.renamer().Rename(e.ctx, "b", "a"))
			e.weighs("a", 350)
		}
	}},
	{name: "weight/outlives-the-driver-value", capability: vm.CapabilityWeight, needs: []string{"Reopen"}, run: func(e *env) {
		e.weighed("a", 250)
		e.adopt()
		e.weighs("a", 250)
		e.ok(e.weigher().SetWeight(e.ctx, "a", 350))
		e.weighs("a", 350)
	}},
}

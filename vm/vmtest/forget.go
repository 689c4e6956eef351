package vmtest

import (
	"github.com/rundlet/rundlet/vm"
)

func (e *env) forgetter() vm.Forgetter { return e.d.(vm.Forgetter) }

var forgetRules = []rule{
	{name: "forget/destroyed-becomes-unknown-and-its-id-unused", capability: vm.CapabilityForget, run: func(e *env) {
		e.destroyed("a")
		e.ok(e.forgetter().Forget(e.ctx, "a"))
		e.unknown("a")
		e.is(e.d.Destroy(e.ctx, "a"), vm.ErrNotFound)
		e.running("a")
	}},
	{name: "forget/not-destroyed-is-invalid-transition", capability: vm.CapabilityForget, run: func(e *env) {
		e.created("a")
		e.running("b")
		e.is(e.forgetter().Forget(e.ctx, "a"), vm.ErrInvalidTransition)
		e.is(e.forgetter().Forget(e.ctx, "b"), vm.ErrInvalidTransition)
		e.status("a", vm.StatusCreated)
		e.status("b", vm.StatusRunning)
	}},
	{name: "forget/unknown-is-no-error", capability: vm.CapabilityForget, run: func(e *env) {
		e.ok(e.forgetter().Forget(e.ctx, "a"))
		e.destroyed("b")
		e.ok(e.forgetter().Forget(e.ctx, "b"))
		e.ok(e.forgetter().Forget(e.ctx, "b"))
	}},
	{name: "forget/snapshots-stay", capability: vm.CapabilityForget, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.ok(e.forgetter().Forget(e.ctx, "a"))
		e.restore("b", "a", "one", true)
		e.read("b", "k", "v")
	}},
}

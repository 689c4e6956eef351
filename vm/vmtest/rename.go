package vmtest

import (
	"github.com/rundlet/rundlet/vm"
)

func (e *env) renamer() vm.Renamer { return e.d.(vm.Renamer) }

var renameRules = []rule{
	{name: "rename/running-keeps-running-under-the-new-id", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.unknown("a")
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.read("b", "k", "v")
		e.snapshot("b", "one")
		e.is(e.d.Stop(e.ctx, "a"), vm.ErrNotFound)
	}},
	{name: "rename/created-and-stopped-keep-their-state", capability: vm.CapabilityRename, run: func(e *env) {
		e.created("a")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.status("b", vm.StatusCreated)
		e.ok(e.d.Start(e.ctx, "b"))
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.renamer().Rename(e.ctx, "b", "c"))
		e.status("c", vm.StatusStopped)
		e.ok(e.d.Start(e.ctx, "c"))
	}},
	{name: "rename/old-id-becomes-unused", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.running("a")
		e.read("a", "k", "")
		e.read("b", "k", "v")
		e.ok(e.d.Destroy(e.ctx, "b"))
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/snapshots-travel", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.snapshot("a", "two")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.snapshots("b", "one", "two")
		e.is(e.d.Snapshot(e.ctx, "b", "one"), vm.ErrAlreadyExists)
		e.is(e.d.Create(e.ctx, "c", e.restoreSpec("a", "one", true)), vm.ErrNotFound)
		e.restore("c", "b", "one", true)
		e.read("c", "k", "v")
		e.created("a")
		e.snapshots("a")
	}},
	{name: "rename/same-id-is-a-no-op", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.ok(e.renamer().Rename(e.ctx, "a", "a"))
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/new-id-used-is-already-exists", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.created("b")
		e.destroyed("c")
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrAlreadyExists)
		e.is(e.renamer().Rename(e.ctx, "a", "c"), vm.ErrAlreadyExists)
		e.status("a", vm.StatusRunning)
		e.status("b", vm.StatusCreated)
		e.status("c", vm.StatusDestroyed)
	}},
	{name: "rename/unknown-is-not-found", capability: vm.CapabilityRename, run: func(e *env) {
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrNotFound)
		e.unknown("b")
		e.created("b")
	}},
	{name: "rename/destroyed-is-invalid-transition", capability: vm.CapabilityRename, run: func(e *env) {
		e.destroyed("a")
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrInvalidTransition)
		e.status("a", vm.StatusDestroyed)
		e.unknown("b")
	}},
	{name: "rename/bad-new-id-is-invalid", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		for _, id := range badIDs {
			e.is(e.renamer().Rename(e.ctx, "a", id), vm.ErrInvalid)
		}
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/unsupported-when-not-implemented", run: func(e *env) {
		// The default of the contract is the absence of the interface: nothing
		// to call, and Info must not promise it.
		if have := e.implements(vm.CapabilityRename); e.d.Info().Has(vm.CapabilityRename) != have {
			e.Errorf("implemented is %v, Info says otherwise", have)
		}
	}},
}

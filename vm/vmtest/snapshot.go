package vmtest

import (
	"strings"

	"github.com/rundlet/rundlet/vm"
)

var badSnapshotIDs = []string{
	"", ".", "..", "a..b", "../a", "a/b", "/a", ".a", "-a", "a b", "a\x00", "ä", strings.Repeat("a", vm.MaxIDLength+1),
}

var snapshotRules = []rule{
	{name: "snapshot/running-goes-on-running", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.status("a", vm.StatusRunning)
		e.snapshots("a", "one")
		e.read("a", "k", "v")
		e.write("a", "k", "w")
		e.read("a", "k", "w")
	}},
	{name: "snapshot/stopped-stays-stopped-and-startable", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.snapshot("a", "one")
		e.status("a", vm.StatusStopped)
		e.snapshots("a", "one")
		e.ok(e.d.Start(e.ctx, "a"))
		e.read("a", "k", "v")
	}},
	{name: "snapshot/created-as-info-says", run: func(e *env) {
		e.created("a")
		if e.d.Info().SnapshotCreated {
			e.snapshot("a", "one")
			e.snapshots("a", "one")
		} else {
			before := e.leftovers()
			e.is(e.d.Snapshot(e.ctx, "a", "one"), vm.ErrInvalidTransition)
			e.snapshots("a")
			e.noLeftovers(before)
		}
		e.status("a", vm.StatusCreated)
		e.ok(e.d.Start(e.ctx, "a"))
	}},
	refused(callSnapshot, vm.StatusDestroyed, (*env).destroyed),
	unknownIsNotFound(callSnapshot),
	{name: "snapshot/name-taken-is-already-exists", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.write("a", "k", "w")
		before := e.leftovers()
		e.is(e.d.Snapshot(e.ctx, "a", "one"), vm.ErrAlreadyExists)
		e.noLeftovers(before)
		e.snapshots("a", "one")
		e.status("a", vm.StatusRunning)
		// The first one is untouched.
		e.restore("b", "a", "one", true)
		e.read("b", "k", "v")
	}},
	{name: "snapshot/names-belong-to-one-machine", run: func(e *env) {
		for _, id := range []string{"a", "b"} {
			e.running(id)
			e.write(id, "id", id)
			e.snapshot(id, "one")
		}
		e.snapshots("a", "one")
		e.snapshots("b", "one")
		e.restore("c", "b", "one", true)
		e.read("c", "id", "b")
	}},
	{name: "snapshot/bad-name-is-invalid-and-leaves-nothing", run: func(e *env) {
		e.running("a")
		before := e.leftovers()
		for _, name := range badSnapshotIDs {
			e.is(e.d.Snapshot(e.ctx, "a", name), vm.ErrInvalid)
		}
		e.snapshots("a")
		e.status("a", vm.StatusRunning)
		e.noLeftovers(before)
	}},
}

// deleter is for the rules of CapabilityDeleteSnapshot.
func (e *env) deleter() vm.SnapshotDeleter { return e.d.(vm.SnapshotDeleter) }

var deleteRules = []rule{
	{name: "delete-snapshot/removes-name-and-files", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		e.running("a")
		before := e.leftovers()
		e.snapshot("a", "one")
		e.snapshot("a", "two")
		e.snapshot("a", "three")
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "two"))
		e.snapshots("a", "one", "three")
		e.is(e.d.Create(e.ctx, "b", e.restoreSpec("a", "two", true)), vm.ErrNotFound)
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "three"))
		e.snapshots("a")
		e.noLeftovers(before)
	}},
	{name: "delete-snapshot/idempotent", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		e.running("a")
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "unknown", "one"))
		e.snapshot("a", "one")
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
	}},
	{name: "delete-snapshot/name-can-be-used-again", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "first")
		e.snapshot("a", "one")
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.write("a", "k", "second")
		e.snapshot("a", "one")
		e.snapshots("a", "one")
		e.restore("b", "a", "one", true)
		e.read("b", "k", "second")
	}},
	{name: "delete-snapshot/of-a-destroyed-machine", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.snapshot("a", "one")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.snapshots("a")
		e.noLeftovers(before)
	}},
	{name: "delete-snapshot/machines-restored-from-it-live-on", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.read("b", "k", "v")
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.read("b", "k", "v")
	}},
	{name: "delete-snapshot/of-it-a-machine-that-waits-can-still-start", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", false)
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.read("b", "k", "v")
	}},
	{name: "delete-snapshot/bad-names-are-invalid", capability: vm.CapabilityDeleteSnapshot, run: func(e *env) {
		before := e.leftovers()
		for _, id := range badIDs {
			e.is(e.deleter().DeleteSnapshot(e.ctx, id, "one"), vm.ErrInvalid)
		}
		for _, name := range badSnapshotIDs {
			e.is(e.deleter().DeleteSnapshot(e.ctx, "a", name), vm.ErrInvalid)
		}
		e.noLeftovers(before)
	}},
}

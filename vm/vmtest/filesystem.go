package vmtest

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// saveFiles takes a snapshot of the file system alone.
func (e *env) saveFiles(id, name string) {
	e.Helper()
	e.taken = append(e.taken, vm.SnapshotRef{VMID: id, SnapshotID: name})
	e.ok(e.trySaveFiles(id, name))
}

func (e *env) trySaveFiles(id, name string) error {
	return e.d.(vm.FilesystemSnapshotter).SnapshotFilesystem(e.ctx, id, name)
}

// coldSpec is a cold boot with the files of a snapshot.
func (e *env) coldSpec(id, snapshot string, resume bool) vm.Spec {
	s := e.spec()
	s.RestoreFrom = &vm.SnapshotRef{VMID: id, SnapshotID: snapshot, ResumeImmediately: resume}
	return s
}

// writeFile and readFile use the guest's disk where the harness can.
func (e *env) writeFile(id, name, value string) {
	e.Helper()
	if e.h.Files != nil {
		e.ok(e.h.Files(e.d).Write(e.ctx, id, name, value))
	}
}

func (e *env) readFile(id, name, want string) {
	e.Helper()
	if e.h.Files == nil {
		return
	}
	got, err := e.h.Files(e.d).Read(e.ctx, id, name)
	e.ok(err)
	if got != want {
		e.Errorf("guest %s has %q in file %s, want %q", id, got, name, want)
	}
}

// bootID is empty without the hook.
func (e *env) bootID(id string) string {
	e.Helper()
	if e.h.BootID == nil {
		return ""
	}
	boot, err := e.h.BootID(e.ctx, e.d, id)
	e.ok(err)
	if boot == "" {
		e.Errorf("guest %s has no boot id", id)
	}
	return boot
}

// files is a rule about snapshots of file systems.
func files(name string, run func(e *env)) rule {
	return rule{name: name, capability: vm.CapabilityFilesystem, run: run}
}

var filesystemRules = []rule{
	files("snapshot-filesystem/running-goes-on-running", func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.writeFile("a", "f", "v")
		e.saveFiles("a", "one")
		e.status("a", vm.StatusRunning)
		e.snapshots("a", "one")
		e.read("a", "k", "v")
		e.writeFile("a", "f", "w")
		e.readFile("a", "f", "w")
	}),
	files("snapshot-filesystem/stopped-stays-stopped-and-startable", func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.writeFile("a", "f", "v")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.saveFiles("a", "one")
		e.status("a", vm.StatusStopped)
		e.ok(e.d.Start(e.ctx, "a"))
		e.read("a", "k", "v")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "one", true)))
		e.readFile("b", "f", "v")
	}),
	files("snapshot-filesystem/created-destroyed-and-unknown-are-refused", func(e *env) {
		e.created("a")
		e.destroyed("b")
		before := e.leftovers()
		e.is(e.trySaveFiles("a", "one"), vm.ErrInvalidTransition)
		e.is(e.trySaveFiles("b", "one"), vm.ErrInvalidTransition)
		e.is(e.trySaveFiles("c", "one"), vm.ErrNotFound)
		e.snapshots("a")
		e.noLeftovers(before)
		e.ok(e.d.Start(e.ctx, "a"))
	}),
	files("snapshot-filesystem/shares-its-names-with-the-other-kind", func(e *env) {
		e.running("a")
		e.saveFiles("a", "one")
		e.snapshot("a", "two")
		before := e.leftovers()
		e.is(e.d.Snapshot(e.ctx, "a", "one"), vm.ErrAlreadyExists)
		e.is(e.trySaveFiles("a", "one"), vm.ErrAlreadyExists)
		e.is(e.trySaveFiles("a", "two"), vm.ErrAlreadyExists)
		e.snapshots("a", "one", "two")
		e.noLeftovers(before)
	}),
	files("snapshot-filesystem/bad-name-is-invalid-and-leaves-nothing", func(e *env) {
		e.running("a")
		before := e.leftovers()
		for _, name := range badSnapshotIDs {
			e.is(e.trySaveFiles("a", name), vm.ErrInvalid)
		}
		e.snapshots("a")
		e.noLeftovers(before)
	}),
	{name: "snapshot-filesystem/half-way-leaves-nothing", capability: vm.CapabilityFilesystem, needs: []string{"Fail"}, run: func(e *env) {
		e.running("a")
		e.writeFile("a", "f", "v")
		before := e.leftovers()
		e.h.Fail(e.T, e.d, "snapshot", "a")
		if err := e.trySaveFiles("a", "one"); err == nil {
			e.Error("snapshot succeeded")
		}
		e.status("a", vm.StatusRunning)
		e.snapshots("a")
		e.noLeftovers(before)
		e.readFile("a", "f", "v")
		e.saveFiles("a", "one")
	}},
	files("snapshot-filesystem/cancelled-before-changes-nothing", func(e *env) {
		e.running("a")
		before := e.leftovers()
		e.is(e.d.(vm.FilesystemSnapshotter).SnapshotFilesystem(e.ended(), "a", "one"), context.Canceled)
		e.status("a", vm.StatusRunning)
		e.snapshots("a")
		e.noLeftovers(before)
	}),
	files("restore-filesystem/is-a-cold-boot-with-the-saved-files", func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.writeFile("a", "f", "v")
		e.saveFiles("a", "one")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "one", true)))
		e.status("b", vm.StatusRunning)
		e.snapshots("b")
		e.readFile("b", "f", "v")
		e.read("b", "k", "")
		if a, b := e.bootID("a"), e.bootID("b"); a == b && a != "" {
			e.Errorf("both guests have the boot id %s", a)
		}
		e.is(e.d.Start(e.ctx, "b"), vm.ErrInvalidTransition)
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.readFile("b", "f", "v")
	}),
	files("restore-filesystem/without-resume-is-stopped-until-start", func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.writeFile("a", "f", "v")
		e.saveFiles("a", "one")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "one", false)))
		e.status("b", vm.StatusStopped)
		e.is(e.d.Stop(e.ctx, "b"), vm.ErrInvalidTransition)
		if !e.d.Info().SnapshotCreated {
			e.is(e.d.Snapshot(e.ctx, "b", "none"), vm.ErrInvalidTransition)
			e.snapshots("b")
		}
		// What was not changed yet can be saved again.
		e.saveFiles("b", "two")
		e.ok(e.d.Start(e.ctx, "b"))
		e.status("b", vm.StatusRunning)
		e.readFile("b", "f", "v")
		e.read("b", "k", "")
		e.ok(e.d.Create(e.ctx, "c", e.coldSpec("b", "two", true)))
		e.readFile("c", "f", "v")
	}),
	files("restore-filesystem/sees-the-moment-of-the-snapshot-and-is-independent", func(e *env) {
		e.running("a")
		e.writeFile("a", "f", "then")
		e.saveFiles("a", "one")
		e.writeFile("a", "f", "later")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "one", true)))
		e.ok(e.d.Create(e.ctx, "c", e.coldSpec("a", "one", true)))
		e.writeFile("b", "f", "b")
		e.readFile("a", "f", "later")
		e.readFile("c", "f", "then")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.readFile("b", "f", "b")
	}),
	files("restore-filesystem/generations-of-both-kinds", func(e *env) {
		e.running("a")
		e.writeFile("a", "a", "was here")
		e.saveFiles("a", "s")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "s", true)))
		e.writeFile("b", "b", "was here")
		e.write("b", "k", "v")
		e.snapshot("b", "s")
		e.restore("c", "b", "s", true)
		e.read("c", "k", "v")
		e.writeFile("c", "c", "was here")
		e.saveFiles("c", "s")
		e.ok(e.d.Create(e.ctx, "d", e.coldSpec("c", "s", true)))
		for _, name := range []string{"a", "b", "c"} {
			e.readFile("d", name, "was here")
		}
		e.read("d", "k", "")
	}),
	files("restore-filesystem/cold-boot-fields-count", func(e *env) {
		e.running("a")
		e.saveFiles("a", "one")
		before := e.leftovers()
		for _, name := range Fields() {
			if slices.Contains(e.h.Accepts, name) {
				continue
			}
			s := e.coldSpec("a", "one", true)
			fields[name](&s)
			e.is(e.d.Create(e.ctx, "b", s), vm.ErrUnsupported)
		}
		s := e.coldSpec("a", "one", true)
		s.RestoreFrom.NetworkOverrides = []vm.NetworkOverride{{InterfaceID: "none9", HostDevice: "none9"}}
		if err := e.d.Create(e.ctx, "b", s); err == nil {
			e.Error("network overrides were accepted")
		}
		e.unknown("b")
		e.noLeftovers(before)
	}),
	{name: "restore-filesystem/another-root-is-incompatible", capability: vm.CapabilityFilesystem, needs: []string{"OtherRoot"}, run: func(e *env) {
		e.running("a")
		e.saveFiles("a", "one")
		before := e.leftovers()
		s := e.coldSpec("a", "one", true)
		s.Rootfs = e.h.OtherRoot(e.T)
		e.is(e.d.Create(e.ctx, "b", s), vm.ErrIncompatible)
		e.unknown("b")
		e.noLeftovers(before)
	}},
	{name: "restore-filesystem/of-a-deleted-snapshot-can-still-start", capability: vm.CapabilityFilesystem, run: func(e *env) {
		if !e.implements(vm.CapabilityDeleteSnapshot) {
			e.Log("the driver does not implement delete_snapshot")
			return
		}
		e.running("a")
		e.writeFile("a", "f", "v")
		e.saveFiles("a", "one")
		e.ok(e.d.Create(e.ctx, "b", e.coldSpec("a", "one", false)))
		e.ok(e.d.Create(e.ctx, "c", e.coldSpec("a", "one", true)))
		e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.readFile("b", "f", "v")
		e.readFile("c", "f", "v")
	}},
	{name: "restore-filesystem/half-way-leaves-nothing", capability: vm.CapabilityFilesystem, needs: []string{"Fail"}, run: func(e *env) {
		e.running("a")
		e.saveFiles("a", "one")
		before := e.leftovers()
		for _, resume := range []bool{true, false} {
			e.h.Fail(e.T, e.d, "create", "b")
			if err := e.d.Create(e.ctx, "b", e.coldSpec("a", "one", resume)); err == nil {
				e.Error("create succeeded")
			}
			e.unknown("b")
			e.noLeftovers(before)
		}
	}},
}

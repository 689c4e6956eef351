package vmtest

import (
	"errors"

	"github.com/rundlet/rundlet/vm"
)

var restoreRules = []rule{
	{name: "restore/without-resume-is-stopped-until-start", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", false)
		e.status("b", vm.StatusStopped)
		e.snapshots("b")
		e.is(e.d.Stop(e.ctx, "b"), vm.ErrInvalidTransition)
		e.ok(e.d.Start(e.ctx, "b"))
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
	}},
	{name: "restore/resume-immediately-is-running", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		e.status("b", vm.StatusRunning)
		e.is(e.d.Start(e.ctx, "b"), vm.ErrInvalidTransition)
		e.read("b", "k", "v")
	}},
	{name: "restore/of-a-stopped-machine-can-run", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
		e.status("a", vm.StatusStopped)
	}},
	{name: "restore/sees-the-moment-of-the-snapshot", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "then")
		e.snapshot("a", "one")
		e.write("a", "k", "later")
		e.restore("b", "a", "one", true)
		e.read("b", "k", "then")
		e.read("a", "k", "later")
	}},
	{name: "restore/twice-gives-independent-machines", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		e.restore("c", "a", "one", true)
		e.write("b", "k", "b")
		e.read("c", "k", "v")
		e.write("c", "k", "c")
		e.read("b", "k", "b")
		e.read("a", "k", "v")
		e.ok(e.d.Destroy(e.ctx, "b"))
		e.status("c", vm.StatusRunning)
		e.read("c", "k", "c")
	}},
	{name: "restore/generations", run: func(e *env) {
		e.running("g0")
		for i, id := range []string{"g1", "g2", "g3"} {
			from := "g" + string(rune('0'+i))
			e.write(from, from, "was here")
			e.snapshot(from, "s")
			e.restore(id, from, "s", true)
			// A snapshot belongs to the machine that it was taken from.
			e.snapshots(id)
			e.ok(e.d.Destroy(e.ctx, from))
		}
		for _, key := range []string{"g0", "g1", "g2"} {
			e.read("g3", key, "was here")
		}
	}},
	{name: "restore/unknown-snapshot-is-not-found-and-leaves-nothing", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		e.is(e.d.Create(e.ctx, "b", e.restoreSpec("a", "two", true)), vm.ErrNotFound)
		e.is(e.d.Create(e.ctx, "b", e.restoreSpec("c", "one", true)), vm.ErrNotFound)
		e.unknown("b")
		e.noLeftovers(before)
		e.restore("b", "a", "one", false)
	}},
	{name: "restore/bad-reference-is-invalid-and-leaves-nothing", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		for _, id := range badIDs {
			e.is(e.d.Create(e.ctx, "b", e.restoreSpec(id, "one", true)), vm.ErrInvalid)
		}
		for _, name := range badSnapshotIDs {
			e.is(e.d.Create(e.ctx, "b", e.restoreSpec("a", name, true)), vm.ErrInvalid)
		}
		e.unknown("b")
		e.noLeftovers(before)
	}},
	{name: "restore/used-id-is-already-exists", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.is(e.d.Create(e.ctx, "a", e.restoreSpec("a", "one", true)), vm.ErrAlreadyExists)
		e.status("a", vm.StatusRunning)
	}},
	{name: "create/restore-ignores-cold-boot-fields", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		s := e.restoreSpec("a", "one", true)
		s.Rootfs, s.RootfsReadOnly = "/does/not/exist", true
		s.Kernel, s.BootArgs = "/does/not/exist", "panic=1"
		s.Args, s.Env, s.Cwd = []string{"/does/not/exist"}, []string{"A=B"}, "/does/not/exist"
		s.DiskMiB, s.MaxProcesses = 1, 1
		s.Interfaces = []vm.NetworkInterface{{ID: "eth9", HostDevice: "none9"}}
		s.Drives = []vm.Drive{{ID: "data", Path: "/does/not/exist"}}
		s.RootfsRateLimit = &vm.RateLimiter{Ops: &vm.TokenBucket{Size: 1, Refill: 1}}
		s.Vsock = &vm.Vsock{CID: 3, Path: "/does/not/exist"}
		s.TrackDirtyPages = true
		e.ok(e.d.Create(e.ctx, "b", s))
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
	}},
	{name: "create/restore-does-not-ignore-network-overrides", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		s := e.restoreSpec("a", "one", true)
		s.RestoreFrom.NetworkOverrides = []vm.NetworkOverride{{InterfaceID: "none9", HostDevice: "none9"}}
		// A driver that has no devices refuses them, one that has does not know
		// this one.
		err := e.d.Create(e.ctx, "b", s)
		if !errors.Is(err, vm.ErrUnsupported) && !errors.Is(err, vm.ErrInvalid) && !errors.Is(err, vm.ErrIncompatible) {
			e.Errorf("error is %v", err)
		}
		e.unknown("b")
		e.noLeftovers(before)
	}},
}

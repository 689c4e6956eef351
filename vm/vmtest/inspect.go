package vmtest

import (
	"os"
	"reflect"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

func (e *env) inspector() vm.SnapshotInspector { return e.d.(vm.SnapshotInspector) }

// all returns the snapshots as "machine/name".
func (e *env) all() (names []string) {
	e.Helper()
	infos, err := e.inspector().Snapshots(e.ctx)
	e.ok(err)
	for _, i := range infos {
		names = append(names, i.VMID+"/"+i.SnapshotID)
	}
	return names
}

func (e *env) inspect(id, name string) vm.SnapshotInfo {
	e.Helper()
	info, err := e.inspector().InspectSnapshot(e.ctx, id, name)
	e.ok(err)
	return info
}

// inspecting is a rule about the inspection of snapshots.
func inspecting(name string, run func(e *env)) rule {
	return rule{name: "inspect/" + name, capability: vm.CapabilityInspect, run: run}
}

var inspectRules = []rule{
	inspecting("lists-all-sorted-also-of-machines-that-are-gone", func(e *env) {
		if got := e.all(); len(got) > 0 {
			e.Fatalf("a fresh driver has the snapshots %q", got)
		}
		e.running("b")
		e.running("a")
		e.snapshot("b", "two")
		e.snapshot("a", "z")
		e.snapshot("b", "one")
		e.ok(e.d.Destroy(e.ctx, "b"))
		want := []string{"a/z", "b/one", "b/two"}
		if e.implements(vm.CapabilityForget) {
			e.ok(e.forgetter().Forget(e.ctx, "b"))
		}
		if got := e.all(); !slices.Equal(got, want) {
			e.Errorf("snapshots are %q, want %q", got, want)
		}
		if e.h.Reopen == nil || !e.implements(vm.CapabilityAdopt) {
			return
		}
		stamp := e.inspector().HostStamp()
		e.adopt()
		if got := e.all(); !slices.Equal(got, want) {
			e.Errorf("the next driver value has %q, want %q", got, want)
		}
		if now := e.inspector().HostStamp(); !reflect.DeepEqual(now, stamp) {
			e.Errorf("the host's stamp was %+v and is %+v", stamp, now)
		}
	}),
	inspecting("one-is-as-in-the-list", func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.snapshot("a", "two")
		infos, err := e.inspector().Snapshots(e.ctx)
		e.ok(err)
		for _, i := range infos {
			if got := e.inspect(i.VMID, i.SnapshotID); !reflect.DeepEqual(got, i) {
				e.Errorf("inspected %+v, listed %+v", got, i)
			}
		}
		if one, two := infos[0], infos[1]; one.CreatedAt.IsZero() || two.CreatedAt.Before(one.CreatedAt) {
			e.Errorf("made at %v and %v", one.CreatedAt, two.CreatedAt)
		}
	}),
	inspecting("files-are-there-with-their-sizes", func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		info := e.inspect("a", "one")
		var names []string
		for _, f := range info.Files {
			names = append(names, f.Name)
			stat, err := os.Stat(f.Path)
			e.ok(err)
			if !stat.Mode().IsRegular() || stat.Size() != f.Bytes {
				e.Errorf("%s is %v with %d bytes, want %d", f.Name, stat.Mode(), stat.Size(), f.Bytes)
			}
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			e.Errorf("files are %q", names)
		}
		// What is listed is what a restore needs: without it there is none.
		if len(info.Files) > 0 {
			e.ok(os.Truncate(info.Files[0].Path, max(0, info.Files[0].Bytes-1)))
			before := e.leftovers()
			e.is(e.d.Create(e.ctx, "b", e.restoreSpec("a", "one", true)), vm.ErrIncompatible)
			e.unknown("b")
			e.noLeftovers(before)
		}
	}),
	inspecting("distinguishes-the-kinds", func(e *env) {
		if !e.implements(vm.CapabilityFilesystem) {
			e.Log("the driver does not implement snapshot_filesystem")
			return
		}
		e.running("a")
		e.snapshot("a", "memory")
		e.saveFiles("a", "files")
		if e.inspect("a", "memory").Filesystem || !e.inspect("a", "files").Filesystem {
			e.Error("the kinds are confused")
		}
	}),
	inspecting("made-here-has-the-stamp-of-the-host", func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		want, info := e.inspector().HostStamp(), e.d.Info()
		if got := e.inspect("a", "one").Stamp; !reflect.DeepEqual(got, want) {
			e.Errorf("stamp is %+v, the host's is %+v", got, want)
		}
		if want.Driver != info.Driver || want.Version != info.Version || want.Arch == "" {
			e.Errorf("stamp is %+v, Info is %+v", want, info)
		}
		if !slices.IsSorted(want.Flags) || !slices.IsSorted(want.CPUFeatures) {
			e.Errorf("stamp is not sorted: %+v", want)
		}
	}),
	inspecting("unknown-is-not-found-and-bad-is-invalid", func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		for _, ref := range [][2]string{{"a", "two"}, {"b", "one"}} {
			_, err := e.inspector().InspectSnapshot(e.ctx, ref[0], ref[1])
			e.is(err, vm.ErrNotFound)
		}
		for _, id := range badIDs {
			_, err := e.inspector().InspectSnapshot(e.ctx, id, "one")
			e.is(err, vm.ErrInvalid)
		}
		for _, name := range badSnapshotIDs {
			_, err := e.inspector().InspectSnapshot(e.ctx, "a", name)
			e.is(err, vm.ErrInvalid)
		}
	}),
	{name: "inspect/unfinished-is-not-listed-and-not-waited-for", capability: vm.CapabilityInspect, needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		e.taken = append(e.taken, vm.SnapshotRef{VMID: "a", SnapshotID: "one"})
		e.held("snapshot", "a", func() error { return e.d.Snapshot(e.ctx, "a", "one") }, func() {
			if got := e.all(); len(got) > 0 {
				e.Errorf("listed %q", got)
			}
			_, err := e.inspector().InspectSnapshot(e.ctx, "a", "one")
			e.is(err, vm.ErrNotFound)
		})
		e.inspect("a", "one")
	}},
	inspecting("follows-deletion-and-renaming", func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.snapshot("a", "two")
		want := []string{"a/one", "a/two"}
		if e.implements(vm.CapabilityDeleteSnapshot) {
			e.ok(e.deleter().DeleteSnapshot(e.ctx, "a", "one"))
			want = []string{"a/two"}
		}
		if e.implements(vm.CapabilityRename) {
			e.ok(e.renamer().Rename(e.ctx, "a", "b"))
			for i := range want {
				want[i] = "b" + want[i][1:]
			}
			for _, f := range e.inspect("b", "two").Files {
				_, err := os.Stat(f.Path)
				e.ok(err)
			}
		}
		if got := e.all(); !slices.Equal(got, want) {
			e.Errorf("snapshots are %q, want %q", got, want)
		}
	}),
}

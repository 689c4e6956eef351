package vmtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// env is one case: a fresh driver, and helpers that end the case when
// something on which it builds goes wrong.
type env struct {
	*testing.T
	h   Harness
	d   vm.Runtime
	ctx context.Context

	before []string
	taken  []vm.SnapshotRef // snapshots to delete in the end
	roots  map[string]map[string]string
}

func newEnv(t *testing.T, h Harness) *env {
	ctx, cancel := context.WithTimeout(context.Background(), h.Limits.Case)
	e := &env{T: t, h: h, d: h.New(t), ctx: ctx}
	e.before = e.leftovers()
	t.Cleanup(cancel)
	t.Cleanup(e.clean)
	return e
}

// clean ends every case with the rule that Destroy and DeleteSnapshot free
// everything.
func (e *env) clean() {
	// The case may have used up its own time.
	ctx, cancel := context.WithTimeout(context.Background(), e.h.Limits.Case)
	defer cancel()
	e.ctx = ctx
	views, err := e.d.List(ctx)
	if err != nil {
		e.Errorf("clean-up: %v", err)
	}
	for _, v := range views {
		if v.Status != vm.StatusDestroyed {
			if err := e.d.Destroy(ctx, v.ID); err != nil {
				e.Errorf("clean-up: %v", err)
			}
		}
		for _, name := range v.Snapshots {
			e.taken = append(e.taken, vm.SnapshotRef{VMID: v.ID, SnapshotID: name})
		}
	}
	del, ok := e.d.(vm.SnapshotDeleter)
	if !ok && len(e.taken) > 0 {
		e.Log("snapshots stay: the driver does not implement delete_snapshot")
		return
	}
	for _, s := range e.taken {
		if err := del.DeleteSnapshot(ctx, s.VMID, s.SnapshotID); err != nil {
			e.Errorf("clean-up: %v", err)
		}
	}
	e.noLeftovers(e.before)
	for root, before := range e.roots {
		if paths := differ(before, hostFiles(root, false)); len(paths) > 0 {
			e.Errorf("the root file system on the host has changed: %q", paths)
		}
	}
}

// leftovers is nil without the hook.
func (e *env) leftovers() []string {
	if e.h.Leftovers == nil {
		return nil
	}
	out := slices.Clone(e.h.Leftovers(e.T, e.d))
	slices.Sort(out)
	return out
}

func (e *env) noLeftovers(before []string) {
	e.Helper()
	if after := e.leftovers(); !slices.Equal(before, after) {
		e.Errorf("host objects before:\n%q\nand after:\n%q", before, after)
	}
}

// spec is the harness's. Objects of the host that it names must not change meanwhile.
func (e *env) spec() vm.Spec {
	s := e.h.Spec(e.T)
	if e.roots == nil {
		e.roots = map[string]map[string]string{}
	}
	if e.roots[s.Rootfs] == nil {
		e.roots[s.Rootfs] = hostFiles(s.Rootfs, false)
	}
	return s
}

func (e *env) restoreSpec(id, snapshot string, resume bool) vm.Spec {
	var s vm.Spec
	if e.h.RestoreSpec != nil {
		s = e.h.RestoreSpec(e.T)
	}
	s.RestoreFrom = &vm.SnapshotRef{VMID: id, SnapshotID: snapshot, ResumeImmediately: resume}
	return s
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("unexpected error: %v", err)
	}
}

// is checks the class of an error, and that it says which machine it is about.
func (e *env) is(err, class error) {
	e.Helper()
	if !errors.Is(err, class) {
		e.Errorf("error is %v, want %q", err, class)
	}
}

func (e *env) created(id string) {
	e.Helper()
	e.ok(e.d.Create(e.ctx, id, e.spec()))
}

func (e *env) running(id string) {
	e.Helper()
	e.created(id)
	e.ok(e.d.Start(e.ctx, id))
}

func (e *env) stopped(id string) {
	e.Helper()
	e.running(id)
	e.ok(e.d.Stop(e.ctx, id))
}

func (e *env) destroyed(id string) {
	e.Helper()
	e.created(id)
	e.ok(e.d.Destroy(e.ctx, id))
}

func (e *env) snapshot(id, name string) {
	e.Helper()
	e.taken = append(e.taken, vm.SnapshotRef{VMID: id, SnapshotID: name})
	e.ok(e.d.Snapshot(e.ctx, id, name))
}

func (e *env) restore(id, from, name string, resume bool) {
	e.Helper()
	e.ok(e.d.Create(e.ctx, id, e.restoreSpec(from, name, resume)))
}

func (e *env) view(id string) vm.View {
	e.Helper()
	v, ok, err := e.d.Get(e.ctx, id)
	e.ok(err)
	if !ok {
		e.Fatalf("machine %s is unknown", id)
	}
	return v
}

func (e *env) status(id string, want vm.Status) {
	e.Helper()
	if got := e.view(id).Status; got != want {
		e.Errorf("machine %s is %s, want %s", id, got, want)
	}
}

func (e *env) unknown(id string) {
	e.Helper()
	if v, ok, err := e.d.Get(e.ctx, id); ok || err != nil {
		e.Errorf("Get(%s) is %+v, %v, %v, want an unknown machine", id, v, ok, err)
	}
}

func (e *env) snapshots(id string, want ...string) {
	e.Helper()
	names, ok, err := e.d.ListSnapshots(e.ctx, id)
	e.ok(err)
	if !ok || !slices.Equal(names, want) {
		e.Errorf("snapshots of %s are %q (known %v), want %q", id, names, ok, want)
	}
	if got := e.view(id).Snapshots; !slices.Equal(got, want) {
		e.Errorf("view of %s has snapshots %q, want %q", id, got, want)
	}
}

// write and read use the guest where the harness can; without, a case still
// shows the states.
func (e *env) write(id, key, value string) {
	e.Helper()
	if e.h.Guest != nil {
		e.ok(e.h.Guest(e.d).Write(e.ctx, id, key, value))
	}
}

func (e *env) read(id, key, want string) {
	e.Helper()
	if e.h.Guest == nil {
		return
	}
	got, err := e.h.Guest(e.d).Read(e.ctx, id, key)
	e.ok(err)
	if got != want {
		e.Errorf("guest %s has %s=%q, want %q", id, key, got, want)
	}
}

func (e *env) implements(c vm.Capability) bool {
	return implements(e.d)[c]
}

func implements(d vm.Runtime) map[vm.Capability]bool {
	m := map[vm.Capability]bool{}
	_, m[vm.CapabilityRename] = d.(vm.Renamer)
	_, m[vm.CapabilityDial] = d.(vm.Dialer)
	_, m[vm.CapabilityConsole] = d.(vm.Console)
	_, m[vm.CapabilityStats] = d.(vm.Statser)
	_, m[vm.CapabilityDeleteSnapshot] = d.(vm.SnapshotDeleter)
	_, m[vm.CapabilityAdopt] = d.(vm.Adopter)
	_, m[vm.CapabilityWait] = d.(vm.Waiter)
	_, m[vm.CapabilityWeight] = d.(vm.Weigher)
	_, m[vm.CapabilityPageOut] = d.(vm.PageOuter)
	_, m[vm.CapabilityReadLayer] = d.(vm.LayerReader)
	_, m[vm.CapabilityForget] = d.(vm.Forgetter)
	_, m[vm.CapabilityFilesystem] = d.(vm.FilesystemSnapshotter)
	_, m[vm.CapabilityInspect] = d.(vm.SnapshotInspector)
	return m
}

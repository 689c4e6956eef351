package vmtest

import (
	"context"
	"fmt"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// Call is a call on a driver that a harness can hand to another process.
type Call struct {
	// Op is "create", "start", "stop", "snapshot", "snapshot-filesystem", "rename"
	// or "destroy".
	Op string `json:"op"`
	ID string `json:"id"`
	// Name is the new id or the name of the snapshot.
	Name string  `json:"name,omitempty"`
	Spec vm.Spec `json:"spec"`
}

// Point is the name of the call for Harness.Hold and Harness.Fail.
func (c Call) Point() string {
	if c.Op == "snapshot-filesystem" {
		return "snapshot"
	}
	return c.Op
}

// Do makes the call.
func (c Call) Do(ctx context.Context, d vm.Runtime) error {
	switch c.Op {
	case "create":
		return d.Create(ctx, c.ID, c.Spec)
	case "start":
		return d.Start(ctx, c.ID)
	case "stop":
		return d.Stop(ctx, c.ID)
	case "snapshot":
		return d.Snapshot(ctx, c.ID, c.Name)
	case "snapshot-filesystem":
		return d.(vm.FilesystemSnapshotter).SnapshotFilesystem(ctx, c.ID, c.Name)
	case "rename":
		return d.(vm.Renamer).Rename(ctx, c.ID, c.Name)
	case "destroy":
		return d.Destroy(ctx, c.ID)
	}
	return fmt.Errorf("%w: unknown call %q", vm.ErrInvalid, c.Op)
}

// filesSnapshot is the name of one without memory.
const filesSnapshot = "files"

// crashing is the rule about a daemon that dies in the middle of a call. The
// machine a runs, b is as prepare made it, if it did, and a has the snapshot one.
func crashing(name string, optional vm.Capability, call func(e *env) Call, prepare ...func(*env, string)) rule {
	return rule{name: "crash/" + name, capability: vm.CapabilityAdopt, needs: []string{"Crash"}, run: func(e *env) {
		if optional != "" && !e.implements(optional) {
			e.Logf("the driver does not implement %s", optional)
			return
		}
		e.running("a")
		e.write("a", "k", "v")
		e.writeFile("a", "f", "v")
		e.snapshot("a", "one")
		made := []string{"a"}
		for _, make := range prepare {
			make(e, "b")
			made = append(made, "b")
		}
		c := call(e)
		e.afterCrash(c, made)
	}}
}

func (e *env) afterCrash(c Call, made []string) {
	e.Helper()
	if c.Name != "" {
		e.taken = append(e.taken, vm.SnapshotRef{VMID: c.ID, SnapshotID: c.Name}, vm.SnapshotRef{VMID: c.Name, SnapshotID: "one"})
	}
	e.d = e.h.Crash(e.T, e.d, c)
	adopted, lost, err := Adopted(e.ctx, e.d)
	e.ok(err)
	e.accounted(c, made, adopted, lost)
	a := "a"
	if _, renamed := adopted[c.Name]; renamed {
		a = c.Name
	}
	// Adopted machines can be used, and saved snapshots are complete.
	for id, v := range adopted {
		if v.Status != vm.StatusRunning {
			e.ok(e.d.Start(e.ctx, id))
		}
		if id == a {
			e.read(a, "k", "v")
		}
	}
	names := []string{"one"}
	if c.Op != "destroy" { // The machine may be unknown after that.
		names = e.view(a).Snapshots
	}
	if !slices.Contains(names, "one") {
		e.Errorf("the snapshot one is lost: %s has %q", a, names)
	}
	for i, name := range names {
		s := e.restoreSpec(a, name, true)
		if name == filesSnapshot || name == c.Name && c.Op == "snapshot-filesystem" {
			s = e.coldSpec(a, name, true)
		}
		id := fmt.Sprint("restored-", i)
		e.ok(e.d.Create(e.ctx, id, s))
		e.readFile(id, "f", "v")
	}
	e.again(c, adopted, names)
}

// oldOrNew are the states of a machine before and after a call.
var oldOrNew = map[string][]vm.Status{
	"start":               {vm.StatusCreated, vm.StatusRunning},
	"stop":                {vm.StatusRunning, vm.StatusStopped},
	"snapshot":            {vm.StatusRunning},
	"snapshot-filesystem": {vm.StatusRunning},
	"rename":              {vm.StatusRunning},
}

// accounted checks that what the daemon left is adopted or reported, and is as
// it was before the call or as the call makes it.
func (e *env) accounted(c Call, made []string, adopted map[string]vm.View, lost map[string]string) {
	e.Helper()
	for id, reason := range lost {
		if reason == "" {
			e.Errorf("%s is lost without a reason", id)
		}
		if _, both := adopted[id]; both {
			e.Errorf("%s is adopted and lost", id)
		}
	}
	gone := map[string]bool{"create": true, "destroy": true}
	for _, id := range append(slices.Clone(made), c.ID) {
		v, ok := adopted[id]
		_, reported := lost[id]
		other, renamed := adopted[c.Name]
		switch {
		case ok && id != c.ID && id == "a" && v.Status != vm.StatusRunning:
			e.Errorf("%s is %s, and the call was on %s", id, v.Status, c.ID)
		case ok && id == c.ID && oldOrNew[c.Op] != nil && !slices.Contains(oldOrNew[c.Op], v.Status):
			e.Errorf("%s is %s after %s, want one of %q", id, v.Status, c.Op, oldOrNew[c.Op])
		case ok || renamed && id == c.ID && other.Status == vm.StatusRunning:
		case id == c.ID && gone[c.Op]:
		default:
			e.Errorf("machine %s is not adopted (reported: %v)", id, reported)
		}
	}
	for id := range adopted {
		if !slices.Contains(made, id) && id != c.ID && (c.Op != "rename" || id != c.Name) {
			e.Errorf("adopted %s, which was never made", id)
		}
	}
	for id := range lost {
		if id != c.ID || !gone[c.Op] {
			e.Errorf("%s is lost: %s", id, lost[id])
		}
	}
}

// again checks that a call that had no effect can be made again.
func (e *env) again(c Call, adopted map[string]vm.View, names []string) {
	e.Helper()
	_, known := adopted[c.ID]
	switch c.Op {
	case "create":
		if _, ok, err := e.d.Get(e.ctx, c.ID); err == nil && !ok {
			e.ok(c.Do(e.ctx, e.d))
		}
	case "snapshot", "snapshot-filesystem":
		if !slices.Contains(names, c.Name) {
			e.ok(c.Do(e.ctx, e.d))
		}
	case "stop", "rename", "destroy":
		if known {
			e.ok(c.Do(e.ctx, e.d))
		}
	}
}

var crashRules = []rule{
	crashing("create", "", func(e *env) Call { return Call{Op: "create", ID: "b", Spec: e.spec()} }),
	crashing("restore", "", func(e *env) Call { return Call{Op: "create", ID: "b", Spec: e.restoreSpec("a", "one", true)} }),
	crashing("restore-without-resume", "", func(e *env) Call {
		return Call{Op: "create", ID: "b", Spec: e.restoreSpec("a", "one", false)}
	}),
	crashing("boot-from-files", vm.CapabilityFilesystem, func(e *env) Call {
		e.saveFiles("a", filesSnapshot)
		return Call{Op: "create", ID: "b", Spec: e.coldSpec("a", filesSnapshot, true)}
	}),
	crashing("start", "", func(*env) Call { return Call{Op: "start", ID: "b"} }, (*env).created),
	crashing("stop", "", func(*env) Call { return Call{Op: "stop", ID: "a"} }),
	crashing("snapshot", "", func(*env) Call { return Call{Op: "snapshot", ID: "a", Name: "new"} }),
	crashing("snapshot-of-files", vm.CapabilityFilesystem, func(*env) Call {
		return Call{Op: "snapshot-filesystem", ID: "a", Name: "new"}
	}),
	crashing("rename", vm.CapabilityRename, func(*env) Call { return Call{Op: "rename", ID: "a", Name: "z"} }),
	crashing("destroy", "", func(*env) Call { return Call{Op: "destroy", ID: "a"} }),
}

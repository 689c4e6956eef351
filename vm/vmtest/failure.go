package vmtest

import (
	"errors"

	"github.com/rundlet/rundlet/vm"
)

var failureRules = []rule{
	{name: "failure/create-half-way-leaves-nothing", needs: []string{"Fail"}, run: func(e *env) {
		before := e.leftovers()
		e.h.Fail(e.T, e.d, "create", "a")
		if err := e.d.Create(e.ctx, "a", e.spec()); err == nil {
			e.Error("create succeeded")
		}
		e.unknown("a")
		e.noLeftovers(before)
		e.running("a")
	}},
	{name: "failure/restore-half-way-leaves-nothing", needs: []string{"Fail"}, run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		e.h.Fail(e.T, e.d, "create", "b")
		if err := e.d.Create(e.ctx, "b", e.restoreSpec("a", "one", true)); err == nil {
			e.Error("create succeeded")
		}
		e.unknown("b")
		e.noLeftovers(before)
		e.restore("b", "a", "one", true)
	}},
	{name: "failure/snapshot-half-way-leaves-nothing", needs: []string{"Fail"}, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		before := e.leftovers()
		e.h.Fail(e.T, e.d, "snapshot", "a")
		if err := e.d.Snapshot(e.ctx, "a", "one"); err == nil {
			e.Error("snapshot succeeded")
		}
		e.status("a", vm.StatusRunning)
		e.snapshots("a")
		e.is(e.d.Create(e.ctx, "b", e.restoreSpec("a", "one", true)), vm.ErrNotFound)
		e.noLeftovers(before)
		e.snapshot("a", "one")
		e.read("a", "k", "v")
	}},
	{name: "failure/destroy-can-be-repeated-until-all-is-freed", needs: []string{"Fail"}, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.h.Fail(e.T, e.d, "destroy", "a")
		if err := e.d.Destroy(e.ctx, "a"); err == nil {
			e.Error("destroy succeeded")
		}
		if v := e.view("a"); v.Status == vm.StatusDestroyed {
			e.Errorf("a destroy that failed left %+v", v)
		}
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	failedMove(callStart, vm.StatusCreated, (*env).created),
	failedMove(callStop, vm.StatusRunning, (*env).running),
	{name: "failure/rename-half-way-changes-nothing", capability: vm.CapabilityRename, needs: []string{"Fail"}, run: func(e *env) {
		e.running("a")
		e.h.Fail(e.T, e.d, "rename", "a")
		if err := e.renamer().Rename(e.ctx, "a", "b"); err == nil {
			e.Error("rename succeeded")
		}
		e.status("a", vm.StatusRunning)
		e.unknown("b")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
	}},
	{name: "failure/error-names-operation-and-machine", run: func(e *env) {
		var detail *vm.Error
		for op, err := range map[string]error{"start": e.d.Start(e.ctx, "a"), "destroy": e.d.Destroy(e.ctx, "a")} {
			if !errors.As(err, &detail) || detail.Op != op || detail.ID != "a" {
				e.Errorf("%s failed with %#v", op, err)
			}
		}
	}},
}

func failedMove(c call, from vm.Status, prepare func(*env, string)) rule {
	return rule{name: "failure/" + c.name + "-half-way-changes-nothing", needs: []string{"Fail"}, run: func(e *env) {
		prepare(e, "a")
		before := e.leftovers()
		e.h.Fail(e.T, e.d, c.name, "a")
		if err := c.do(e.d, e.ctx, "a"); err == nil {
			e.Errorf("%s succeeded", c.name)
		}
		e.status("a", from)
		e.noLeftovers(before)
		e.ok(c.do(e.d, e.ctx, "a"))
	}}
}

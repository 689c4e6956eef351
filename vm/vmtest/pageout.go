package vmtest

import (
	"context"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// pagedOut pages a machine out and checks what a driver may say about it.
func (e *env) pagedOut(id string) {
	e.Helper()
	freed, err := e.d.(vm.PageOuter).PageOut(e.ctx, id)
	e.ok(err)
	if freed < 0 {
		e.Errorf("paging out freed %d bytes", freed)
	}
	e.status(id, vm.StatusRunning)
}

var pageOutRules = []rule{
	{name: "page_out/the-machine-runs-on", capability: vm.CapabilityPageOut, run: func(e *env) {
		e.running("a")
		before := e.view("a")
		for range 2 { // The second time there is next to nothing left.
			e.pagedOut("a")
		}
		if after := e.view("a"); after.ExitReason != "" || after.Busy != before.Busy {
			e.Errorf("the machine was %+v and is %+v", before, after)
		}
		e.ok(e.d.Stop(e.ctx, "a"))
		e.ok(e.d.Start(e.ctx, "a"))
		e.pagedOut("a")
		e.ok(e.d.Destroy(e.ctx, "a"))
	}},
	{name: "page_out/nothing-is-lost", capability: vm.CapabilityPageOut, needs: []string{"Guest"}, run: func(e *env) {
		e.running("a")
		long := strings.Repeat("some memory ", 10_000)
		e.write("a", "k", "v")
		e.write("a", "long", long)
		e.pagedOut("a")
		e.read("a", "k", "v")
		e.read("a", "long", long)
		e.write("a", "k", "w")
		e.pagedOut("a")
		e.snapshot("a", "one")
		e.read("a", "k", "w")
		e.restore("b", "a", "one", true)
		e.read("b", "long", long)
	}},
	{name: "page_out/only-of-a-running-machine", capability: vm.CapabilityPageOut, run: func(e *env) {
		refused := func(id string, class error) {
			e.Helper()
			_, err := e.d.(vm.PageOuter).PageOut(e.ctx, id)
			e.is(err, class)
		}
		refused("a", vm.ErrNotFound)
		e.created("a")
		refused("a", vm.ErrInvalidTransition)
		e.status("a", vm.StatusCreated)
		e.stopped("b")
		refused("b", vm.ErrInvalidTransition)
		e.status("b", vm.StatusStopped)
		e.destroyed("c")
		refused("c", vm.ErrInvalidTransition)
	}},
	{name: "page_out/not-after-the-end-of-its-context", capability: vm.CapabilityPageOut, run: func(e *env) {
		e.running("a")
		_, err := e.d.(vm.PageOuter).PageOut(e.ended(), "a")
		e.is(err, context.Canceled)
		e.status("a", vm.StatusRunning)
	}},
	{name: "page_out/waits-for-no-call", capability: vm.CapabilityPageOut, needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		e.held("snapshot", "a", func() error { return e.d.Snapshot(e.ctx, "a", "one") }, func() { e.pagedOut("a") })
		e.snapshots("a", "one")
	}},
}

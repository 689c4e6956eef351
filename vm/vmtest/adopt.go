package vmtest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Answered waits until nothing is under way on a machine, and returns what it is then. On a
// host with much to do, a machine that was adopted may be busy for a while, and its
// status the last known one (see vm.Adopter).
func Answered(ctx context.Context, d vm.Runtime, id string) (vm.View, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if v, _, err := d.Get(ctx, id); err != nil || v.Busy == "" {
			return v, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return vm.View{}, ctx.Err()
		}
	}
}

// Adopted adopts, and returns what the machines are when each of them has answered.
func Adopted(ctx context.Context, d vm.Runtime) (map[string]vm.View, map[string]string, error) {
	views, lost, err := d.(vm.Adopter).Adopt(ctx)
	adopted := map[string]vm.View{}
	for _, v := range views {
		if err == nil {
			adopted[v.ID], err = Answered(ctx, d, v.ID)
		}
	}
	return adopted, lost, err
}

// adopt reopens the driver and adopts.
func (e *env) adopt() (ids []string, lost map[string]string) {
	e.Helper()
	e.d = e.h.Reopen(e.T, e.d)
	adopted, lost, err := Adopted(e.ctx, e.d)
	e.ok(err)
	return slices.Sorted(maps.Keys(adopted)), lost
}

var adoptRules = []rule{
	{name: "adopt/nothing-to-adopt", capability: vm.CapabilityAdopt, run: func(e *env) {
		views, lost, err := e.d.(vm.Adopter).Adopt(e.ctx)
		e.ok(err)
		if len(views) > 0 || len(lost) > 0 {
			e.Errorf("adopted %+v, lost %q", views, lost)
		}
	}},
	{name: "adopt/takes-over-running-and-stopped", capability: vm.CapabilityAdopt, needs: []string{"Reopen"}, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.stopped("b")
		ids, lost := e.adopt()
		if !slices.Equal(ids, []string{"a", "b"}) || len(lost) > 0 {
			e.Fatalf("adopted %q, lost %q", ids, lost)
		}
		e.status("a", vm.StatusRunning)
		e.status("b", vm.StatusStopped)
		e.snapshots("a", "one")
		e.read("a", "k", "v")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.ok(e.d.Start(e.ctx, "a"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.read("a", "k", "v")
		e.snapshot("a", "two")
		e.restore("c", "a", "two", true)
		e.is(e.d.Create(e.ctx, "b", e.spec()), vm.ErrAlreadyExists)
	}},
	{name: "adopt/destroy-of-an-adopted-machine-leaves-nothing", capability: vm.CapabilityAdopt, needs: []string{"Reopen"}, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.adopt()
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	{name: "adopt/twice-returns-nothing-new", capability: vm.CapabilityAdopt, needs: []string{"Reopen"}, run: func(e *env) {
		e.running("a")
		e.adopt()
		views, lost, err := e.d.(vm.Adopter).Adopt(e.ctx)
		e.ok(err)
		if len(views) > 0 || len(lost) > 0 {
			e.Errorf("adopted %+v, lost %q", views, lost)
		}
		e.status("a", vm.StatusRunning)
	}},
	{name: "adopt/dead-is-freed-and-reported", capability: vm.CapabilityAdopt, needs: []string{"Reopen", "Kill"}, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.h.Kill(e.T, e.d, "a")
		ids, lost := e.adopt()
		if len(ids) > 0 || len(lost) != 1 || lost["a"] == "" {
			e.Errorf("adopted %q, lost %q", ids, lost)
		}
		if v, ok, err := e.d.Get(e.ctx, "a"); err != nil || ok && v.Status != vm.StatusDestroyed {
			e.Errorf("a lost machine is %+v, %v, %v", v, ok, err)
		}
		e.noLeftovers(before)
	}},
	{name: "adopt/snapshots-survive-with-and-without-their-machine", capability: vm.CapabilityAdopt, needs: []string{"Reopen"}, run: func(e *env) {
		for _, id := range []string{"a", "b"} {
			e.running(id)
			e.write(id, "id", id)
			e.snapshot(id, "one")
		}
		e.ok(e.d.Destroy(e.ctx, "b"))
		e.adopt()
		e.restore("c", "a", "one", true)
		e.read("c", "id", "a")
		e.restore("d", "b", "one", true)
		e.read("d", "id", "b")
	}},
	{name: "adopt/snapshot-names-of-an-earlier-value-stay-taken", capability: vm.CapabilityAdopt, needs: []string{"Reopen"}, run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.adopt()
		if e.implements(vm.CapabilityRename) {
			e.created("b")
			e.is(e.renamer().Rename(e.ctx, "b", "a"), vm.ErrAlreadyExists)
			e.status("b", vm.StatusCreated)
		}
		if _, ok, err := e.d.Get(e.ctx, "a"); err == nil && !ok {
			e.running("a")
			e.snapshots("a", "one")
			e.is(e.d.Snapshot(e.ctx, "a", "one"), vm.ErrAlreadyExists)
		}
	}},
	{name: "adopt/wait-works-on-an-adopted-machine", capability: vm.CapabilityAdopt, needs: []string{"Reopen", "Kill"}, run: func(e *env) {
		if !e.implements(vm.CapabilityWait) {
			e.Log("the driver does not implement wait")
			return
		}
		e.running("a")
		e.adopt()
		c := e.wait(e.ctx, "a")
		e.h.Kill(e.T, e.d, "a")
		if e.reason(c) == "" {
			e.Error("no reason")
		}
		if v := e.view("a"); v.Status != vm.StatusStopped || v.ExitReason == "" {
			e.Errorf("view is %+v", v)
		}
	}},
}

package vmtest

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// refusedEarly checks that a call with an ended context returns its error and
// changes nothing.
func refusedEarly(c call, from vm.Status, prepare func(*env, string)) rule {
	return rule{name: "cancel/" + c.name + "-before-changes-nothing", run: func(e *env) {
		prepare(e, "a")
		before := e.leftovers()
		e.is(c.do(e.d, e.ended(), "a"), context.Canceled)
		e.status("a", from)
		e.snapshots("a")
		e.noLeftovers(before)
	}}
}

// halfWay checks a call whose context ends while it is half-way: the machine is
// then as it was or as the call makes it, and of further use.
func halfWay(c call, from, to vm.Status, prepare func(*env, string)) rule {
	return rule{name: "cancel/" + c.name + "-half-way-is-old-or-new", needs: []string{"Hold"}, run: func(e *env) {
		prepare(e, "a")
		before := e.leftovers()
		ctx, cancel := context.WithCancel(e.ctx)
		err := e.holding(c.name, "a", func() error { return c.do(e.d, ctx, "a") }, cancel)
		e.oldOrNew(err, context.Canceled, "a", from, to, before)
	}}
}

func (e *env) oldOrNew(err, cause error, id string, from, to vm.Status, before []string) {
	e.Helper()
	e.settled(id)
	v := e.view(id)
	if err == nil {
		e.status(id, to)
	} else {
		e.is(err, cause)
		if v.Status != from && v.Status != to {
			e.Errorf("machine is %s, want %s or %s", v.Status, from, to)
		}
		if v.Status == from && len(v.Snapshots) == 0 && len(e.taken) == 0 {
			e.noLeftovers(before)
		}
	}
	if v.ExitReason != "" {
		e.Errorf("the machine ended: %s", v.ExitReason)
	}
	switch v.Status {
	case vm.StatusRunning:
		e.ok(e.d.Stop(e.ctx, id))
	case vm.StatusCreated, vm.StatusStopped:
		e.ok(e.d.Start(e.ctx, id))
	}
}

// atRandom cancels a call at many points of its duration.
func atRandom(name string, run func(e *env, ctx context.Context, id string)) rule {
	return rule{name: "cancel/" + name + "-at-any-time-is-old-or-new", run: func(e *env) {
		for i, after := range []time.Duration{100 * time.Microsecond, 2 * time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(e.ctx, after)
			run(e, ctx, fmt.Sprint("m", i))
			cancel()
		}
	}}
}

var cancelRules = []rule{
	{name: "cancel/create-before-leaves-nothing", run: func(e *env) {
		before := e.leftovers()
		e.is(e.d.Create(e.ended(), "a", e.spec()), context.Canceled)
		e.unknown("a")
		e.noLeftovers(before)
		e.created("a")
	}},
	refusedEarly(callStart, vm.StatusCreated, (*env).created),
	refusedEarly(callStop, vm.StatusRunning, (*env).running),
	refusedEarly(callSnapshot, vm.StatusRunning, (*env).running),
	{name: "cancel/destroy-before-still-destroys", run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.ok(e.d.Destroy(e.ended(), "a"))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	{name: "cancel/create-half-way-leaves-nothing", needs: []string{"Hold"}, run: func(e *env) {
		before := e.leftovers()
		spec := e.spec()
		ctx, cancel := context.WithCancel(e.ctx)
		err := e.holding("create", "a", func() error { return e.d.Create(ctx, "a", spec) }, cancel)
		e.is(err, context.Canceled)
		e.unknown("a")
		e.noLeftovers(before)
		e.created("a")
	}},
	{name: "cancel/restore-half-way-leaves-nothing", needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		spec := e.restoreSpec("a", "one", true)
		ctx, cancel := context.WithCancel(e.ctx)
		err := e.holding("create", "b", func() error { return e.d.Create(ctx, "b", spec) }, cancel)
		e.is(err, context.Canceled)
		e.unknown("b")
		e.noLeftovers(before)
		e.restore("b", "a", "one", true)
	}},
	halfWay(callStart, vm.StatusCreated, vm.StatusRunning, (*env).created),
	halfWay(callStop, vm.StatusRunning, vm.StatusStopped, (*env).running),
	halfWay(callSnapshot, vm.StatusRunning, vm.StatusRunning, (*env).running),
	{name: "cancel/destroy-half-way-still-destroys", needs: []string{"Hold"}, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		ctx, cancel := context.WithCancel(e.ctx)
		e.ok(e.holding("destroy", "a", func() error { return e.d.Destroy(ctx, "a") }, cancel))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	{name: "cancel/rename-half-way-is-old-or-new", capability: vm.CapabilityRename, needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		ctx, cancel := context.WithCancel(e.ctx)
		err := e.holding("rename", "a", func() error { return e.renamer().Rename(ctx, "a", "b") }, cancel)
		id := "b"
		if err != nil {
			e.is(err, context.Canceled)
			id = "a"
			e.unknown("b")
			e.created("b")
		} else {
			e.unknown("a")
			e.created("a")
		}
		e.status(id, vm.StatusRunning)
		e.ok(e.d.Stop(e.ctx, id))
	}},
	atRandom("create", func(e *env, ctx context.Context, id string) {
		before := e.leftovers()
		if err := e.d.Create(ctx, id, e.spec()); err != nil {
			e.is(err, context.DeadlineExceeded)
			e.unknown(id)
			e.noLeftovers(before)
		} else {
			e.ok(e.d.Start(e.ctx, id))
			e.ok(e.d.Destroy(e.ctx, id))
		}
	}),
	atRandom("restore", func(e *env, ctx context.Context, id string) {
		if len(e.taken) == 0 {
			e.running("a")
			e.snapshot("a", "one")
		}
		before := e.leftovers()
		if err := e.d.Create(ctx, id, e.restoreSpec("a", "one", true)); err != nil {
			e.is(err, context.DeadlineExceeded)
			e.unknown(id)
			e.noLeftovers(before)
		} else {
			e.status(id, vm.StatusRunning)
			e.ok(e.d.Destroy(e.ctx, id))
		}
	}),
	atRandom("snapshot", func(e *env, ctx context.Context, id string) {
		if _, ok, _ := e.d.Get(e.ctx, "a"); !ok {
			e.running("a")
			e.write("a", "k", "v")
		}
		before := e.leftovers()
		had := e.view("a").Snapshots
		err := e.d.Snapshot(ctx, "a", id)
		if err != nil {
			e.is(err, context.DeadlineExceeded)
		}
		e.settled("a")
		e.status("a", vm.StatusRunning)
		e.read("a", "k", "v")
		if names := e.view("a").Snapshots; len(names) == len(had) {
			if err == nil {
				e.Error("the snapshot is not listed")
			}
			e.noLeftovers(before)
			return
		}
		// It is listed, so it is complete.
		e.restore("from-"+id, "a", id, true)
		e.read("from-"+id, "k", "v")
		e.ok(e.d.Destroy(e.ctx, "from-"+id))
	}),
}

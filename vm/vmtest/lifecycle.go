package vmtest

import (
	"context"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// badIDs are invalid machine ids; the dotted ones are what could climb out of, or
// collide in, a directory.
var badIDs = []string{
	"", ".", "..", "a.b", "../a", "a/b", "/a", "-a", "_a", "a b", "a\x00b", "a\n", "ä", strings.Repeat("a", vm.MaxIDLength+1),
}

var createRules = []rule{
	{name: "create/unused-becomes-created", run: func(e *env) {
		e.created("a")
		e.status("a", vm.StatusCreated)
		e.snapshots("a")
	}},
	{name: "create/used-id-is-already-exists", run: func(e *env) {
		e.created("a")
		e.is(e.d.Create(e.ctx, "a", e.spec()), vm.ErrAlreadyExists)
		e.status("a", vm.StatusCreated)
		e.ok(e.d.Start(e.ctx, "a"))
		e.is(e.d.Create(e.ctx, "a", e.spec()), vm.ErrAlreadyExists)
		e.status("a", vm.StatusRunning)
	}},
	{name: "create/destroyed-id-stays-used", run: func(e *env) {
		e.destroyed("a")
		e.is(e.d.Create(e.ctx, "a", e.spec()), vm.ErrAlreadyExists)
		e.status("a", vm.StatusDestroyed)
	}},
	{name: "create/bad-id-is-invalid-and-leaves-nothing", run: func(e *env) {
		before := e.leftovers()
		for _, id := range badIDs {
			e.is(e.d.Create(e.ctx, id, e.spec()), vm.ErrInvalid)
			e.unknown(id)
		}
		e.noLeftovers(before)
	}},
	{name: "create/longest-id-works", run: func(e *env) {
		id := strings.Repeat("a", vm.MaxIDLength)
		e.running(id)
		e.snapshot(id, strings.Repeat("s", vm.MaxIDLength))
		e.status(id, vm.StatusRunning)
	}},
	{name: "create/ids-never-share-objects", run: func(e *env) {
		// Ids that a careless mapping to names would make equal.
		for _, id := range []string{"a-b", "a_b", "A-b"} {
			e.running(id)
			e.write(id, "id", id)
		}
		e.ok(e.d.Destroy(e.ctx, "a_b"))
		for _, id := range []string{"a-b", "A-b"} {
			e.status(id, vm.StatusRunning)
			e.read(id, "id", id)
		}
	}},
}

// call is a lifecycle call with a name.
type call struct {
	name string
	do   func(d vm.Runtime, ctx context.Context, id string) error
}

var (
	callStart    = call{"start", func(d vm.Runtime, ctx context.Context, id string) error { return d.Start(ctx, id) }}
	callStop     = call{"stop", func(d vm.Runtime, ctx context.Context, id string) error { return d.Stop(ctx, id) }}
	callSnapshot = call{"snapshot", func(d vm.Runtime, ctx context.Context, id string) error { return d.Snapshot(ctx, id, "snap") }}
	callDestroy  = call{"destroy", func(d vm.Runtime, ctx context.Context, id string) error { return d.Destroy(ctx, id) }}
)

// refused checks that a call does not fit a state and changes nothing.
func refused(c call, from vm.Status, prepare func(e *env, id string)) rule {
	return rule{name: c.name + "/" + string(from) + "-is-invalid-transition", run: func(e *env) {
		prepare(e, "a")
		before := e.leftovers()
		for range 2 {
			e.is(c.do(e.d, e.ctx, "a"), vm.ErrInvalidTransition)
			e.status("a", from)
			e.snapshots("a")
		}
		e.noLeftovers(before)
	}}
}

func unknownIsNotFound(c call) rule {
	return rule{name: c.name + "/unknown-is-not-found", run: func(e *env) {
		before := e.leftovers()
		for _, id := range []string{"a", "", "../a"} {
			err := c.do(e.d, e.ctx, id)
			if id == "a" {
				e.is(err, vm.ErrNotFound)
			} else if err == nil {
				e.Errorf("id %q was accepted", id)
			}
			e.unknown(id)
		}
		e.noLeftovers(before)
	}}
}

var lifecycleRules = []rule{
	{name: "start/created-becomes-running", run: func(e *env) {
		e.created("a")
		e.ok(e.d.Start(e.ctx, "a"))
		e.status("a", vm.StatusRunning)
	}},
	{name: "start/stopped-becomes-running-where-it-was", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		for range 2 {
			e.ok(e.d.Stop(e.ctx, "a"))
			e.status("a", vm.StatusStopped)
			e.ok(e.d.Start(e.ctx, "a"))
			e.status("a", vm.StatusRunning)
		}
		e.read("a", "k", "v")
	}},
	refused(callStart, vm.StatusRunning, (*env).running),
	refused(callStart, vm.StatusDestroyed, (*env).destroyed),
	unknownIsNotFound(callStart),
	{name: "stop/running-becomes-stopped", run: func(e *env) {
		e.running("a")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.status("a", vm.StatusStopped)
	}},
	refused(callStop, vm.StatusCreated, (*env).created),
	refused(callStop, vm.StatusStopped, (*env).stopped),
	refused(callStop, vm.StatusDestroyed, (*env).destroyed),
	unknownIsNotFound(callStop),
}

var destroyRules = []rule{
	{name: "destroy/created-leaves-nothing", run: destroyFrom((*env).created)},
	{name: "destroy/running-leaves-nothing", run: destroyFrom((*env).running)},
	{name: "destroy/stopped-leaves-nothing", run: destroyFrom((*env).stopped)},
	{name: "destroy/restored-leaves-nothing", run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		before := e.leftovers()
		for _, resume := range []bool{false, true} {
			id := map[bool]string{false: "b", true: "c"}[resume]
			e.restore(id, "a", "one", resume)
			e.ok(e.d.Destroy(e.ctx, id))
			e.status(id, vm.StatusDestroyed)
		}
		e.noLeftovers(before)
	}},
	refused(callDestroy, vm.StatusDestroyed, (*env).destroyed),
	unknownIsNotFound(callDestroy),
	{name: "destroy/snapshots-survive", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("a", vm.StatusDestroyed)
		e.snapshots("a", "one")
		e.restore("b", "a", "one", true)
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
	}},
	{name: "destroy/leaves-other-machines-alone", run: func(e *env) {
		e.running("a")
		e.running("b")
		e.write("b", "k", "v")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
	}},
}

func destroyFrom(prepare func(*env, string)) func(*env) {
	return func(e *env) {
		before := e.leftovers()
		prepare(e, "a")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}
}

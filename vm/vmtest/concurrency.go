package vmtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// racers is how many goroutines compete for one machine.
const racers = 8

// oneWins checks that one call succeeded and the others failed with class.
func (e *env) oneWins(errs []error, class error) {
	e.Helper()
	wins := 0
	for _, err := range errs {
		if err == nil {
			wins++
		} else {
			e.is(err, class)
		}
	}
	if wins != 1 {
		e.Errorf("%d of %d calls succeeded, want 1", wins, len(errs))
	}
}

var concurrencyRules = []rule{
	{name: "concurrency/create-of-one-id-has-one-winner", run: func(e *env) {
		spec := e.spec()
		e.oneWins(race(racers, func(int) error { return e.d.Create(e.ctx, "a", spec) }), vm.ErrAlreadyExists)
		e.status("a", vm.StatusCreated)
		e.ok(e.d.Start(e.ctx, "a"))
	}},
	{name: "concurrency/start-has-one-winner", run: func(e *env) {
		e.created("a")
		e.oneWins(race(racers, func(int) error { return e.d.Start(e.ctx, "a") }), vm.ErrInvalidTransition)
		e.status("a", vm.StatusRunning)
	}},
	{name: "concurrency/stop-has-one-winner", run: func(e *env) {
		e.running("a")
		e.oneWins(race(racers, func(int) error { return e.d.Stop(e.ctx, "a") }), vm.ErrInvalidTransition)
		e.status("a", vm.StatusStopped)
		e.ok(e.d.Start(e.ctx, "a"))
	}},
	{name: "concurrency/snapshot-of-one-name-has-one-winner", run: func(e *env) {
		e.running("a")
		e.oneWins(race(racers, func(int) error { return e.d.Snapshot(e.ctx, "a", "one") }), vm.ErrAlreadyExists)
		e.status("a", vm.StatusRunning)
		e.snapshots("a", "one")
		e.restore("b", "a", "one", true)
	}},
	{name: "concurrency/destroy-has-one-winner", run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.oneWins(race(racers, func(int) error { return e.d.Destroy(e.ctx, "a") }), vm.ErrInvalidTransition)
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	{name: "concurrency/rename-to-one-id-has-one-winner", capability: vm.CapabilityRename, run: func(e *env) {
		ids := []string{"a", "b", "c"}
		for _, id := range ids {
			e.created(id)
		}
		e.oneWins(race(len(ids), func(i int) error { return e.renamer().Rename(e.ctx, ids[i], "x") }), vm.ErrAlreadyExists)
		views, err := e.d.List(e.ctx)
		e.ok(err)
		if len(views) != len(ids) {
			e.Errorf("list is %+v", views)
		}
		e.status("x", vm.StatusCreated)
	}},
	{name: "concurrency/rename-and-create-of-one-id-have-one-winner", capability: vm.CapabilityRename, run: func(e *env) {
		e.created("a")
		spec := e.spec()
		e.oneWins(race(2, func(i int) error {
			if i == 0 {
				return e.renamer().Rename(e.ctx, "a", "x")
			}
			return e.d.Create(e.ctx, "x", spec)
		}), vm.ErrAlreadyExists)
		e.status("x", vm.StatusCreated)
	}},
	{name: "concurrency/different-machines", run: func(e *env) {
		before := e.leftovers()
		const n = 4
		specs := make([]vm.Spec, n)
		for i := range specs {
			specs[i] = e.spec()
		}
		for _, err := range race(n, func(i int) error {
			id := fmt.Sprint("m", i)
			return errors.Join(e.d.Create(e.ctx, id, specs[i]), e.d.Start(e.ctx, id), e.d.Stop(e.ctx, id),
				e.d.Start(e.ctx, id), e.d.Destroy(e.ctx, id))
		}) {
			if err != nil {
				e.Error(err)
			}
		}
		for i := range n {
			e.status(fmt.Sprint("m", i), vm.StatusDestroyed)
		}
		e.noLeftovers(before)
	}},
	{name: "concurrency/restores-of-one-snapshot", run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		const n = 4
		specs := make([]vm.Spec, n)
		for i := range specs {
			specs[i] = e.restoreSpec("a", "one", true)
		}
		for _, err := range race(n, func(i int) error { return e.d.Create(e.ctx, fmt.Sprint("m", i), specs[i]) }) {
			if err != nil {
				e.Error(err)
			}
		}
		for i := range n {
			e.status(fmt.Sprint("m", i), vm.StatusRunning)
			e.read(fmt.Sprint("m", i), "k", "v")
		}
	}},
	{name: "concurrency/calls-on-one-machine-are-serialised", needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		var destroyed chan error
		e.held("stop", "a", func() error { return e.d.Stop(e.ctx, "a") }, func() {
			destroyed = make(chan error, 1)
			go func() { destroyed <- e.d.Destroy(e.ctx, "a") }()
			// A call that gives up waiting for its turn changes nothing.
			ctx, cancel := context.WithTimeout(e.ctx, 20*time.Millisecond)
			defer cancel()
			e.is(e.d.Snapshot(ctx, "a", "one"), context.DeadlineExceeded)
			select {
			case err := <-destroyed:
				e.Errorf("Destroy overtook Stop: %v", err)
				destroyed <- err
			default:
			}
			e.status("a", vm.StatusRunning)
		})
		select {
		case err := <-destroyed:
			e.ok(err)
		case <-e.ctx.Done():
			e.Fatal("Destroy did not return")
		}
		e.status("a", vm.StatusDestroyed)
		e.snapshots("a")
	}},
	{name: "concurrency/different-machines-do-not-wait-for-each-other", needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		e.held("stop", "a", func() error { return e.d.Stop(e.ctx, "a") }, func() {
			e.running("b")
			e.snapshot("b", "one")
			e.ok(e.d.Destroy(e.ctx, "b"))
		})
	}},
	{name: "concurrency/a-call-that-waited-for-a-rename-finds-nothing", capability: vm.CapabilityRename, needs: []string{"Hold"}, run: func(e *env) {
		e.running("a")
		stopped := make(chan error, 1)
		e.held("rename", "a", func() error { return e.renamer().Rename(e.ctx, "a", "b") }, func() {
			go func() { stopped <- e.d.Stop(e.ctx, "a") }()
			// The new id is taken already.
			e.is(e.d.Create(e.ctx, "b", e.spec()), vm.ErrAlreadyExists)
		})
		select {
		case err := <-stopped:
			e.is(err, vm.ErrNotFound)
		case <-e.ctx.Done():
			e.Fatal("Stop did not return")
		}
		e.status("b", vm.StatusRunning)
	}},
	{name: "concurrency/an-id-that-is-being-made-is-used", needs: []string{"Hold"}, run: func(e *env) {
		spec := e.spec()
		e.held("create", "a", func() error { return e.d.Create(e.ctx, "a", spec) }, func() {
			e.is(e.d.Create(e.ctx, "a", spec), vm.ErrAlreadyExists)
		})
		e.status("a", vm.StatusCreated)
	}},
}

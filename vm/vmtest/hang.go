package vmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// patience is how long a caller of these rules waits for a machine that hangs.
const patience = 300 * time.Millisecond

// abandon makes the call on a machine that hangs and waits until its context
// has ended it.
func (e *env) abandon(op, id string, do func(ctx context.Context) error) (release func()) {
	e.Helper()
	_, release = e.h.Hang(e.T, e.d, op, id)
	e.Cleanup(release)
	e.is(e.bounded(op, do), context.DeadlineExceeded)
	return release
}

// bounded makes a call with little time and returns its error. The call must
// return before the case is over.
func (e *env) bounded(op string, do func(ctx context.Context) error) error {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, patience)
	defer cancel()
	began := time.Now()
	err := e.await(op, func() error { return do(ctx) })
	if took := time.Since(began); took > patience+e.h.Limits.Answer {
		e.Errorf("%s returned %v after the end of its context, want at most %v", op, took-patience, e.h.Limits.Answer)
	}
	return err
}

// destroysHung destroys a machine that hangs.
func (e *env) destroysHung(id string) {
	e.Helper()
	began := time.Now()
	e.ok(e.await("destroy", func() error { return e.d.Destroy(e.ctx, id) }))
	if took := time.Since(began); took > e.h.Limits.Destroy {
		e.Errorf("the destruction of a machine that hangs took %v, want at most %v", took, e.h.Limits.Destroy)
	}
}

// await runs do and ends the case if it does not return.
func (e *env) await(op string, do func() error) error {
	e.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-e.ctx.Done():
		e.Fatalf("%s never returned", op)
		return nil
	}
}

// settled waits until no call keeps the machine busy.
func (e *env) settled(id string) {
	e.Helper()
	e.eventually(func() error {
		if op := e.view(id).Busy; op != "" {
			return fmt.Errorf("%s is busy with %s", id, op)
		}
		return nil
	})
}

// busy checks that the machine says what it is busy with and refuses the rest.
func (e *env) busy(id, op string) {
	e.Helper()
	if got := e.view(id).Busy; got != op {
		e.Errorf("%s is busy with %q, want %q", id, got, op)
	}
	for name, do := range map[string]func() error{
		"start":    func() error { return e.d.Start(e.ctx, id) },
		"stop":     func() error { return e.d.Stop(e.ctx, id) },
		"snapshot": func() error { return e.d.Snapshot(e.ctx, id, "busy") },
	} {
		err := e.await(name, do)
		e.is(err, vm.ErrUnavailable)
		if err != nil && !strings.Contains(err.Error(), op) {
			e.Errorf("%s of a machine that is busy with %s says %q", name, op, err)
		}
	}
}

// hangRules are those of one call on a machine that does not answer.
func hangRules(c call, from, to vm.Status, prepare func(*env, string)) []rule {
	do := func(e *env) func(ctx context.Context) error {
		return func(ctx context.Context) error { return c.do(e.d, ctx, "a") }
	}
	return []rule{
		{name: "hang/" + c.name + "-returns-when-its-context-ends", needs: []string{"Hang"}, run: func(e *env) {
			prepare(e, "a")
			before := e.leftovers()
			release := e.abandon(c.name, "a", do(e))
			e.busy("a", c.name)
			release()
			e.settled("a")
			e.oldOrNew(context.DeadlineExceeded, context.DeadlineExceeded, "a", from, to, before)
		}},
		{name: "hang/destroy-wins-over-" + c.name, needs: []string{"Hang"}, run: func(e *env) {
			before := e.leftovers()
			prepare(e, "a")
			entered, release := e.h.Hang(e.T, e.d, c.name, "a")
			e.Cleanup(release)
			hung := make(chan error, 1)
			go func() { hung <- do(e)(e.ctx) }()
			<-entered
			e.destroysHung("a")
			if err := e.await(c.name, func() error { return <-hung }); err == nil {
				e.Errorf("%s of a machine that was destroyed succeeded", c.name)
			}
			e.status("a", vm.StatusDestroyed)
			e.snapshots("a")
			e.noLeftovers(before)
		}},
		{name: "hang/destroy-wins-over-abandoned-" + c.name, needs: []string{"Hang"}, run: func(e *env) {
			before := e.leftovers()
			prepare(e, "a")
			e.abandon(c.name, "a", do(e))
			e.destroysHung("a")
			e.status("a", vm.StatusDestroyed)
			e.snapshots("a")
			e.noLeftovers(before)
		}},
	}
}

var hangingRules = slices.Concat(
	hangRules(callStart, vm.StatusStopped, vm.StatusRunning, (*env).stopped),
	hangRules(callStop, vm.StatusRunning, vm.StatusStopped, (*env).running),
	hangRules(callSnapshot, vm.StatusRunning, vm.StatusRunning, (*env).running),
	[]rule{
		{name: "hang/restore-leaves-nothing", needs: []string{"Hang"}, run: func(e *env) {
			e.running("a")
			e.snapshot("a", "one")
			before := e.leftovers()
			spec := e.restoreSpec("a", "one", true)
			release := e.abandon("create", "b", func(ctx context.Context) error { return e.d.Create(ctx, "b", spec) })
			e.unknown("b")
			e.noLeftovers(before)
			release() // The context may have ended before it hung.
			e.restore("b", "a", "one", true)
		}},
		{name: "hang/destroy-of-an-idle-machine-is-bounded", needs: []string{"Hang"}, run: func(e *env) {
			// No call was made, so the driver does not know yet that it hangs.
			before := e.leftovers()
			e.running("a")
			_, release := e.h.Hang(e.T, e.d, "destroy", "a")
			e.Cleanup(release)
			e.destroysHung("a")
			e.status("a", vm.StatusDestroyed)
			e.noLeftovers(before)
		}},
		{name: "hang/other-machines-are-not-held-up", needs: []string{"Hang"}, run: func(e *env) {
			e.running("a")
			e.running("b")
			e.abandon("stop", "a", func(ctx context.Context) error { return e.d.Stop(ctx, "a") })
			e.ok(e.d.Stop(e.ctx, "b"))
			e.ok(e.d.Start(e.ctx, "b"))
			_, err := e.d.List(e.ctx)
			e.ok(err)
		}},
		{name: "hang/adopt-takes-over-what-does-not-answer", capability: vm.CapabilityAdopt, needs: []string{"Hang", "Reopen"}, run: func(e *env) {
			for _, id := range []string{"a", "b", "c"} {
				e.running(id)
			}
			e.write("a", "k", "v")
			releases := map[string]func(){}
			for _, id := range []string{"a", "c"} {
				_, releases[id] = e.h.Hang(e.T, e.d, "adopt", id)
				e.Cleanup(releases[id])
			}
			var ids []string
			var lost map[string]string
			e.ok(e.await("adopt", func() error {
				e.d = e.h.Reopen(e.T, e.d)
				views, gone, err := e.d.(vm.Adopter).Adopt(e.ctx)
				for _, v := range views {
					ids = append(ids, v.ID)
				}
				slices.Sort(ids)
				lost = gone
				return err
			}))
			if !slices.Equal(ids, []string{"a", "b", "c"}) || len(lost) > 0 {
				e.Fatalf("adopted %q, lost %q", ids, lost)
			}
			for _, id := range ids {
				e.status(id, vm.StatusRunning)
			}
			e.busy("a", "adopt")
			e.ok(e.d.Stop(e.ctx, "b"))
			e.destroysHung("c")
			releases["a"]()
			e.settled("a")
			e.status("a", vm.StatusRunning)
			e.read("a", "k", "v")
			e.ok(e.d.Stop(e.ctx, "a"))
		}},
	})

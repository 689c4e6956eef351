package vmtest

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// waited is what Wait returned.
type waited struct {
	reason string
	err    error
}

func (e *env) wait(ctx context.Context, id string) <-chan waited {
	out := make(chan waited, 1)
	go func() {
		reason, err := e.d.(vm.Waiter).Wait(ctx, id)
		out <- waited{reason, err}
	}()
	return out
}

func (e *env) reason(c <-chan waited) string {
	e.Helper()
	select {
	case w := <-c:
		e.ok(w.err)
		return w.reason
	case <-e.ctx.Done():
		e.Fatal("Wait did not return")
		return ""
	}
}

var waitRules = []rule{
	{name: "wait/returns-when-the-processes-end", capability: vm.CapabilityWait, needs: []string{"Kill"}, run: func(e *env) {
		e.running("a")
		first, second := e.wait(e.ctx, "a"), e.wait(e.ctx, "a")
		e.h.Kill(e.T, e.d, "a")
		reason := e.reason(first)
		if other := e.reason(second); reason == "" || reason != other {
			e.Errorf("two waiters got %q and %q", reason, other)
		}
		if v := e.view("a"); v.Status != vm.StatusStopped || v.ExitReason != reason {
			e.Errorf("after Wait returned %q the view is %+v", reason, v)
		}
		if again := e.reason(e.wait(e.ctx, "a")); again != reason {
			e.Errorf("a later Wait returned %q, want %q", again, reason)
		}
	}},
	{name: "wait/returns-destroyed-on-destroy", capability: vm.CapabilityWait, run: func(e *env) {
		e.running("a")
		c := e.wait(e.ctx, "a")
		e.ok(e.d.Destroy(e.ctx, "a"))
		if got := e.reason(c); got != "destroyed" {
			e.Errorf("reason is %q", got)
		}
		if got := e.reason(e.wait(e.ctx, "a")); got != "destroyed" {
			e.Errorf("reason after Destroy is %q", got)
		}
	}},
	{name: "wait/goes-on-over-stop-start-and-snapshot", capability: vm.CapabilityWait, run: func(e *env) {
		e.running("a")
		c := e.wait(e.ctx, "a")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.ok(e.d.Start(e.ctx, "a"))
		e.snapshot("a", "one")
		select {
		case w := <-c:
			e.Errorf("Wait returned %+v for a machine that lives", w)
		default:
		}
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.reason(c)
	}},
	{name: "wait/context-ended-is-its-error", capability: vm.CapabilityWait, run: func(e *env) {
		e.running("a")
		ctx, cancel := context.WithCancel(e.ctx)
		c := e.wait(ctx, "a")
		cancel()
		select {
		case w := <-c:
			e.is(w.err, context.Canceled)
		case <-e.ctx.Done():
			e.Fatal("Wait did not return")
		}
		e.status("a", vm.StatusRunning)
	}},
	{name: "wait/unknown-is-not-found", capability: vm.CapabilityWait, run: func(e *env) {
		_, err := e.d.(vm.Waiter).Wait(e.ctx, "a")
		e.is(err, vm.ErrNotFound)
	}},
	{name: "exit/ended-machine-is-stopped-for-good", needs: []string{"Kill"}, run: func(e *env) {
		e.running("a")
		e.snapshot("a", "one")
		reason := e.kill("a").ExitReason
		e.is(e.d.Start(e.ctx, "a"), vm.ErrInvalidTransition)
		e.is(e.d.Stop(e.ctx, "a"), vm.ErrInvalidTransition)
		e.is(e.d.Snapshot(e.ctx, "a", "two"), vm.ErrInvalidTransition)
		if dial, ok := e.d.(vm.Dialer); ok {
			_, err := dial.Dial(e.ctx, "a", 80)
			e.is(err, vm.ErrInvalidTransition)
		}
		if v := e.view("a"); v.Status != vm.StatusStopped || v.ExitReason != reason {
			e.Errorf("view is %+v, reason was %q", v, reason)
		}
		e.snapshots("a", "one")
		e.restore("b", "a", "one", true)
	}},
	{name: "exit/destroy-frees-an-ended-machine", needs: []string{"Kill"}, run: func(e *env) {
		before := e.leftovers()
		e.running("a")
		e.kill("a")
		e.ok(e.d.Destroy(e.ctx, "a"))
		e.status("a", vm.StatusDestroyed)
		e.noLeftovers(before)
	}},
	{name: "exit/other-machines-live-on", needs: []string{"Kill"}, run: func(e *env) {
		e.running("a")
		e.running("b")
		e.write("b", "k", "v")
		e.kill("a")
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
	}},
}

// adopt reopens the driver and adopts.
func (e *env) adopt() (ids []string, lost map[string]string) {
	e.Helper()
	e.d = e.h.Reopen(e.T, e.d)
	views, lost, err := e.d.(vm.Adopter).Adopt(e.ctx)
	e.ok(err)
	for _, v := range views {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return ids, lost
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

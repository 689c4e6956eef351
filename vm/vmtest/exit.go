package vmtest

import (
	"context"

	"github.com/rundlet/rundlet/vm"
)

// waited is the result of Wait.
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
	{name: "wait/goes-on-over-a-rename", capability: vm.CapabilityWait, run: func(e *env) {
		r, ok := e.d.(vm.Renamer)
		if !ok {
			e.Log("the driver does not implement rename")
			return
		}
		e.running("a")
		c := e.wait(e.ctx, "a")
		e.ok(r.Rename(e.ctx, "a", "b"))
		e.ok(e.d.Destroy(e.ctx, "b"))
		select {
		case w := <-c:
			// The waiter may have come after the rename.
			if w.err != nil {
				e.is(w.err, vm.ErrNotFound)
			} else if w.reason != "destroyed" {
				e.Errorf("reason is %q", w.reason)
			}
		case <-e.ctx.Done():
			e.Fatal("Wait did not return")
		}
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

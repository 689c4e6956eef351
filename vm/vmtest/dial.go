package vmtest

import (
	"context"
	"io"

	"github.com/rundlet/rundlet/vm"
)

func (e *env) dial(id string, port uint16) (io.ReadWriteCloser, error) {
	return e.d.(vm.Dialer).Dial(e.ctx, id, port)
}

// echo sends a text through the guest and back.
func (e *env) echo(id string, port uint16) {
	e.Helper()
	c, err := e.d.(vm.Dialer).Dial(e.ctx, id, port)
	e.ok(err)
	defer c.Close()
	if deadline, ok := e.ctx.Deadline(); ok {
		e.ok(c.SetDeadline(deadline))
	}
	const text = "rundlet\x00\xff"
	_, err = io.WriteString(c, text)
	e.ok(err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(c, got)
	e.ok(err)
	if string(got) != text {
		e.Errorf("echo is %q, want %q", got, text)
	}
}

var dialRules = []rule{
	{name: "dial/running-reaches-the-guest", capability: vm.CapabilityDial, needs: []string{"Echo"}, run: func(e *env) {
		e.running("a")
		port, _ := e.h.Echo(e.T, e.d, "a")
		e.echo("a", port)
		e.echo("a", port)
	}},
	{name: "dial/nobody-listens-is-unavailable", capability: vm.CapabilityDial, needs: []string{"Echo"}, run: func(e *env) {
		e.running("a")
		_, silent := e.h.Echo(e.T, e.d, "a")
		c, err := e.dial("a", silent)
		e.is(err, vm.ErrUnavailable)
		if c != nil && err == nil {
			c.Close()
		}
	}},
	{name: "dial/not-running-is-invalid-transition", capability: vm.CapabilityDial, run: func(e *env) {
		dial := func(want error) {
			e.Helper()
			c, err := e.dial("a", 80)
			e.is(err, want)
			if err == nil {
				c.Close()
			}
		}
		dial(vm.ErrNotFound)
		e.created("a")
		dial(vm.ErrInvalidTransition)
		e.ok(e.d.Start(e.ctx, "a"))
		e.ok(e.d.Stop(e.ctx, "a"))
		dial(vm.ErrInvalidTransition)
		e.ok(e.d.Destroy(e.ctx, "a"))
		dial(vm.ErrInvalidTransition)
	}},
	{name: "dial/works-after-stop-and-start-and-after-restore", capability: vm.CapabilityDial, needs: []string{"Echo"}, run: func(e *env) {
		e.running("a")
		port, _ := e.h.Echo(e.T, e.d, "a")
		e.ok(e.d.Stop(e.ctx, "a"))
		e.ok(e.d.Start(e.ctx, "a"))
		e.echo("a", port)
		e.snapshot("a", "one")
		e.echo("a", port)
		e.restore("b", "a", "one", true)
		e.echo("b", port)
	}},
	{name: "dial/connections-end-with-the-machine", capability: vm.CapabilityDial, needs: []string{"Echo"}, run: func(e *env) {
		e.running("a")
		port, _ := e.h.Echo(e.T, e.d, "a")
		c, err := e.d.(vm.Dialer).Dial(e.ctx, "a", port)
		e.ok(err)
		defer c.Close()
		if deadline, ok := e.ctx.Deadline(); ok {
			e.ok(c.SetDeadline(deadline))
		}
		e.ok(e.d.Destroy(e.ctx, "a"))
		if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
			e.Errorf("read from a destroyed machine is %d, %v", n, err)
		}
		if e.ctx.Err() != nil {
			e.Error("the connection outlived the machine")
		}
	}},
	{name: "dial/context-ended-is-its-error", capability: vm.CapabilityDial, run: func(e *env) {
		e.running("a")
		_, err := e.d.(vm.Dialer).Dial(e.ended(), "a", 80)
		e.is(err, context.Canceled)
	}},
}

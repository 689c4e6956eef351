package vmtest

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

func (e *env) renamer() vm.Renamer { return e.d.(vm.Renamer) }

var renameRules = []rule{
	{name: "rename/running-keeps-running-under-the-new-id", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.unknown("a")
		e.status("b", vm.StatusRunning)
		e.read("b", "k", "v")
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.d.Start(e.ctx, "b"))
		e.read("b", "k", "v")
		e.snapshot("b", "one")
		e.is(e.d.Stop(e.ctx, "a"), vm.ErrNotFound)
	}},
	{name: "rename/created-and-stopped-keep-their-state", capability: vm.CapabilityRename, run: func(e *env) {
		e.created("a")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.status("b", vm.StatusCreated)
		e.ok(e.d.Start(e.ctx, "b"))
		e.ok(e.d.Stop(e.ctx, "b"))
		e.ok(e.renamer().Rename(e.ctx, "b", "c"))
		e.status("c", vm.StatusStopped)
		e.ok(e.d.Start(e.ctx, "c"))
	}},
	{name: "rename/old-id-becomes-unused", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.running("a")
		e.read("a", "k", "")
		e.read("b", "k", "v")
		e.ok(e.d.Destroy(e.ctx, "b"))
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/snapshots-travel", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.write("a", "k", "v")
		e.snapshot("a", "one")
		e.snapshot("a", "two")
		e.ok(e.renamer().Rename(e.ctx, "a", "b"))
		e.snapshots("b", "one", "two")
		e.is(e.d.Snapshot(e.ctx, "b", "one"), vm.ErrAlreadyExists)
		e.is(e.d.Create(e.ctx, "c", e.restoreSpec("a", "one", true)), vm.ErrNotFound)
		e.restore("c", "b", "one", true)
		e.read("c", "k", "v")
		e.created("a")
		e.snapshots("a")
	}},
	{name: "rename/same-id-is-a-no-op", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.ok(e.renamer().Rename(e.ctx, "a", "a"))
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/new-id-used-is-already-exists", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		e.created("b")
		e.destroyed("c")
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrAlreadyExists)
		e.is(e.renamer().Rename(e.ctx, "a", "c"), vm.ErrAlreadyExists)
		e.status("a", vm.StatusRunning)
		e.status("b", vm.StatusCreated)
		e.status("c", vm.StatusDestroyed)
	}},
	{name: "rename/unknown-is-not-found", capability: vm.CapabilityRename, run: func(e *env) {
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrNotFound)
		e.unknown("b")
		e.created("b")
	}},
	{name: "rename/destroyed-is-invalid-transition", capability: vm.CapabilityRename, run: func(e *env) {
		e.destroyed("a")
		e.is(e.renamer().Rename(e.ctx, "a", "b"), vm.ErrInvalidTransition)
		e.status("a", vm.StatusDestroyed)
		e.unknown("b")
	}},
	{name: "rename/bad-new-id-is-invalid", capability: vm.CapabilityRename, run: func(e *env) {
		e.running("a")
		for _, id := range badIDs {
			e.is(e.renamer().Rename(e.ctx, "a", id), vm.ErrInvalid)
		}
		e.status("a", vm.StatusRunning)
	}},
	{name: "rename/unsupported-when-not-implemented", run: func(e *env) {
		// The default of the contract is the absence of the interface: nothing
		// to call, and Info must not promise it.
		if have := e.implements(vm.CapabilityRename); e.d.Info().Has(vm.CapabilityRename) != have {
			e.Errorf("implemented is %v, Info says otherwise", have)
		}
	}},
}

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

func (e *env) tail(id string, max int) []string {
	e.Helper()
	lines, err := e.d.(vm.Console).ConsoleTail(e.ctx, id, max)
	e.ok(err)
	return lines
}

var consoleRules = []rule{
	{name: "console/states", capability: vm.CapabilityConsole, run: func(e *env) {
		c := e.d.(vm.Console)
		_, err := c.ConsoleTail(e.ctx, "a", 0)
		e.is(err, vm.ErrNotFound)
		e.created("a")
		e.tail("a", 0)
		e.ok(e.d.Start(e.ctx, "a"))
		e.tail("a", 0)
		e.ok(e.d.Stop(e.ctx, "a"))
		e.tail("a", 0)
		e.ok(e.d.Destroy(e.ctx, "a"))
		_, err = c.ConsoleTail(e.ctx, "a", 0)
		e.is(err, vm.ErrInvalidTransition)
	}},
	{name: "console/newest-lines-oldest-first", capability: vm.CapabilityConsole, needs: []string{"Print"}, run: func(e *env) {
		e.running("a")
		e.h.Print(e.T, e.d, "a", []string{"one", "", "three", "end"})
		e.eventually(func() error { return wantTail(e.tail("a", 0), "one", "", "three", "end") })
		for max, want := range map[int][]string{1: {"end"}, 2: {"three", "end"}, -1: {"three", "end"}} {
			e.eventually(func() error { return wantTail(e.tail("a", max), want...) })
		}
		if n := len(e.tail("a", 2)); n != 2 {
			e.Errorf("asked for 2 lines, got %d", n)
		}
	}},
	{name: "console/keeps-200-lines", capability: vm.CapabilityConsole, needs: []string{"Print"}, run: func(e *env) {
		e.running("a")
		var lines []string
		for i := range 250 {
			lines = append(lines, "line "+strings.Repeat("x", i%7)+string(rune('a'+i%26)))
		}
		e.h.Print(e.T, e.d, "a", lines)
		e.eventually(func() error { return wantTail(e.tail("a", 0), lines[50:]...) })
	}},
	{name: "console/long-line-is-cut-and-marked", capability: vm.CapabilityConsole, needs: []string{"Print"}, run: func(e *env) {
		const mark = "...[truncated]"
		e.running("a")
		whole := strings.Repeat("x", 4096)
		// The cut falls into the middle of a character.
		e.h.Print(e.T, e.d, "a", []string{whole, "y" + strings.Repeat("é", 1<<14), "end"})
		e.eventually(func() error { return wantTail(e.tail("a", 1), "end") })
		tail := e.tail("a", 3)
		if len(tail) != 3 || tail[0] != whole {
			e.Fatalf("a line of 4096 bytes was not kept; %d lines", len(tail))
		}
		cut := tail[1]
		if !strings.HasSuffix(cut, mark) || len(cut) < 4000 || len(cut) > 1<<14 {
			e.Errorf("line of %d bytes, ends with %q", len(cut), cut[max(0, len(cut)-20):])
		}
		if strings.ToValidUTF8(cut, "") != cut {
			e.Error("the cut split a character")
		}
	}},
	{name: "console/readable-after-the-guest-ended", capability: vm.CapabilityConsole, needs: []string{"Print", "Kill"}, run: func(e *env) {
		e.running("a")
		e.h.Print(e.T, e.d, "a", []string{"last words"})
		e.eventually(func() error { return wantTail(e.tail("a", 1), "last words") })
		e.kill("a")
		e.eventually(func() error {
			for _, line := range e.tail("a", 0) {
				if line == "last words" {
					return nil
				}
			}
			return errors.New("the last words are gone")
		})
	}},
}

var statsRules = []rule{
	{name: "stats/every-state-but-destroyed", capability: vm.CapabilityStats, run: func(e *env) {
		s := e.d.(vm.Statser)
		check := func() {
			e.Helper()
			got, err := s.Stats(e.ctx, "a")
			e.ok(err)
			if got.Time.IsZero() || got.CPUTime < 0 || got.MemoryBytes < 0 || got.MemoryLimitBytes < 0 || got.Processes < 0 {
				e.Errorf("stats are %+v", got)
			}
		}
		_, err := s.Stats(e.ctx, "a")
		e.is(err, vm.ErrNotFound)
		e.created("a")
		check()
		e.ok(e.d.Start(e.ctx, "a"))
		check()
		e.ok(e.d.Stop(e.ctx, "a"))
		check()
		e.ok(e.d.Destroy(e.ctx, "a"))
		_, err = s.Stats(e.ctx, "a")
		e.is(err, vm.ErrInvalidTransition)
	}},
	{name: "stats/memory-of-a-running-machine-is-counted", capability: vm.CapabilityStats, needs: []string{"Guest"}, run: func(e *env) {
		e.running("a")
		e.write("a", "k", strings.Repeat("x", 1000))
		got, err := e.d.(vm.Statser).Stats(e.ctx, "a")
		e.ok(err)
		if got.MemoryBytes == 0 || got.Processes == 0 {
			e.Errorf("stats are %+v", got)
		}
	}},
}

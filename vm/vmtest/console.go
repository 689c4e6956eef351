package vmtest

import (
	"errors"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

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
	{name: "console/keeps-64-KiB", capability: vm.CapabilityConsole, needs: []string{"Print"}, run: func(e *env) {
		e.running("a")
		var lines []string
		for i := range 100 {
			lines = append(lines, strings.Repeat(string(rune('a'+i%26)), 4000))
		}
		e.h.Print(e.T, e.d, "a", lines)
		e.eventually(func() error { return wantTail(e.tail("a", 0), lines[100-64<<10/4000:]...) })
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

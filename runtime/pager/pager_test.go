package pager

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/vm"
)

// fake is a host with one sandbox, "a", and its driver.
type fake struct {
	vm.Runtime
	sandbox Sandbox
	gone    bool
	stats   vm.Stats
	swap    host.Swap
	swapErr error
	outErr  error
	during  func(ctx context.Context) // a page-out
	outs    int
}

func (f *fake) Stats(context.Context, string) (vm.Stats, error) {
	f.stats.Time = f.stats.Time.Add(time.Second)
	return f.stats, nil
}

func (f *fake) PageOut(ctx context.Context, _ string) (int64, error) {
	f.outs++
	if f.during != nil {
		f.during(ctx)
	}
	return 5 << 20, f.outErr
}

// newPager returns the pager of a host whose sandbox has been idle for long enough.
func newPager(t *testing.T) (*fake, *Pager, *bytes.Buffer) {
	t.Helper()
	f := &fake{sandbox: Sandbox{ID: "a", Run: 1, Running: true}, stats: vm.Stats{Time: time.Now().Add(-time.Hour)}, swap: host.Swap{Total: 1 << 30, Free: 1 << 30, Zram: true}}
	log := &bytes.Buffer{}
	p := New(Config{
		After: pageout.DefaultAfter, Driver: f, Log: slog.New(slog.NewTextHandler(log, nil)),
		Sandbox: func(id string) (Sandbox, bool) { return f.sandbox, id == "a" && !f.gone },
		Swap:    func() (host.Swap, error) { return f.swap, f.swapErr },
	})
	for range 2 {
		s, _ := f.Stats(t.Context(), "a")
		p.Observe("a", 1, s)
	}
	return f, p, log
}

func TestAnIdleSandboxIsPagedOutOnce(t *testing.T) {
	f, p, _ := newPager(t)
	for range 3 {
		p.Look(t.Context(), false)
	}
	if got, want := p.Figures(), (pageout.Figures{PagedOut: 1, Bytes: 5 << 20, Outs: 1}); f.outs != 1 || got != want || !p.PagedOut("a") || p.PagedOut("b") {
		t.Errorf("%d page-outs, figures %+v", f.outs, got)
	}
	f.gone = true
	p.Look(t.Context(), false)
	if got := p.Figures(); got.PagedOut != 0 || p.PagedOut("a") {
		t.Errorf("it is gone, and the figures are %+v", got)
	}
}

func TestASandboxThatIsUsedAfterAllIsNotPagedOut(t *testing.T) {
	for name, change := range map[string]func(*fake){
		"it computes":               func(f *fake) { f.stats.CPUTime = time.Second },
		"it has traffic":            func(f *fake) { f.sandbox.Traffic = f.stats.Time.Add(time.Millisecond) },
		"a lifecycle call is on it": func(f *fake) { f.sandbox.Busy = true },
		"it is paused":              func(f *fake) { f.sandbox.Running = false },
		"it has another machine":    func(f *fake) { f.sandbox.Run = 2 },
		"it is gone":                func(f *fake) { f.gone = true },
		"there is no swap":          func(f *fake) { f.swap = host.Swap{} },
	} {
		t.Run(name, func(t *testing.T) {
			f, p, log := newPager(t)
			change(f)
			p.Look(t.Context(), true)
			if f.outs != 0 || log.Len() != 0 {
				t.Errorf("paged out %d times: %s", f.outs, log)
			}
		})
	}
}

func TestADiskIsUsedUnderPressureOnly(t *testing.T) {
	f, p, _ := newPager(t)
	f.swap.Zram = false
	p.Look(t.Context(), false)
	if f.outs != 0 {
		t.Error("paged out to a disk without pressure")
	}
	p.Look(t.Context(), true)
	if f.outs != 1 {
		t.Errorf("under pressure it was paged out %d times", f.outs)
	}
}

func TestOneLookAtATimeWithABound(t *testing.T) {
	f, p, _ := newPager(t)
	f.during = func(ctx context.Context) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > outTimeout {
			t.Errorf("a page-out may take until %v", deadline)
		}
		p.Look(t.Context(), true) // It neither waits nor pages out.
	}
	p.Look(t.Context(), true)
	if f.outs != 1 {
		t.Errorf("paged out %d times", f.outs)
	}
	f, p, _ = newPager(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.Look(ended, true)
	if f.outs != 0 {
		t.Error("paged out after the end of the context")
	}
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	f, p, log := newPager(t)
	f.outErr = errors.New("no device")
	for range 3 {
		p.Look(t.Context(), false)
	}
	if got := strings.Count(log.String(), "could not page out"); f.outs != 1 || got != 1 || p.PagedOut("a") {
		t.Errorf("%d attempts in a row:\n%s", f.outs, log)
	}
	f, p, log = newPager(t)
	f.swapErr = errors.New("no file")
	for range 3 {
		p.Look(t.Context(), false)
	}
	if got := strings.Count(log.String(), "could not read the swap"); f.outs != 0 || got != 1 {
		t.Errorf("%d page-outs:\n%s", f.outs, log)
	}
}

func TestWithoutAPagerNothingHappens(t *testing.T) {
	var p *Pager
	p.Observe("a", 1, vm.Stats{})
	p.Look(t.Context(), true)
	if p.PagedOut("a") || p.Figures() != (pageout.Figures{}) {
		t.Error("a nil pager has sandboxes")
	}
}

func TestWithoutADriverATimeOrSwapThereIsNoPager(t *testing.T) {
	swap := func() (host.Swap, error) { return host.Swap{}, nil }
	for name, cfg := range map[string]Config{
		"a driver that cannot": {After: 1, Driver: struct{ vm.Runtime }{}, Swap: swap},
		"it is switched off":   {Driver: &fake{}, Swap: swap},
		"no swap is known":     {After: 1, Driver: &fake{}},
	} {
		if New(cfg) != nil {
			t.Errorf("%s: there is a pager", name)
		}
	}
}

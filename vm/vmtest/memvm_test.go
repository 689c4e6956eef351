package vmtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// driver finds the in-memory driver behind what a harness wrapped around it.
func driver(d vm.Runtime) *memvm.Driver {
	if u, ok := d.(interface{ Unwrap() *memvm.Driver }); ok {
		return u.Unwrap()
	}
	return d.(*memvm.Driver)
}

// faults are the holds, hangs and failures that a case asked for, by "op id".
type faults struct {
	mu   sync.Mutex
	hold map[string]*hold
	hang map[string]*hold
	die  map[string]*hold
	fail map[string]bool
}

func newFaults() *faults {
	return &faults{hold: map[string]*hold{}, hang: map[string]*hold{}, die: map[string]*hold{}, fail: map[string]bool{}}
}

// plant makes a hold that the next op on id finds.
func (f *faults) plant(in map[string]*hold, op, id string) (<-chan struct{}, func()) {
	h := &hold{entered: make(chan struct{}), released: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	in[op+" "+id] = h
	return h.entered, sync.OnceFunc(func() { close(h.released) })
}

func (f *faults) hanging(op, id string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hang[op+" "+id]
	delete(f.hang, op+" "+id)
	if h == nil {
		return nil
	}
	close(h.entered)
	return h.released
}

type hold struct{ entered, released chan struct{} }

var errInjected = errors.New("injected")

func (f *faults) delay(_ context.Context, op, id string) {
	f.mu.Lock()
	h := f.hold[op+" "+id]
	delete(f.hold, op+" "+id)
	die := f.die[op+" "+id]
	f.mu.Unlock()
	if h != nil {
		close(h.entered)
		<-h.released
	}
	if die != nil {
		close(die.entered)
		select {} // A process that has died does not come back to undo anything.
	}
}

func (f *faults) failing(op, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail[op+" "+id] {
		delete(f.fail, op+" "+id)
		return errInjected
	}
	return nil
}

type guest struct{ d *memvm.Driver }

func (g guest) Write(_ context.Context, id, key, value string) error {
	g.d.Guest(id).Set(key, value)
	return nil
}

func (g guest) Read(_ context.Context, id, key string) (string, error) {
	return g.d.Guest(id).Get(key), nil
}

type disk struct{ d *memvm.Driver }

func (g disk) Write(_ context.Context, id, key, value string) error {
	g.d.Guest(id).SetFile(key, value)
	return nil
}

func (g disk) Read(_ context.Context, id, key string) (string, error) {
	return g.d.Guest(id).File(key), nil
}

// harness runs the suite on what wrap makes of an in-memory driver.
func harness(wrap func(*memvm.Driver) vm.Runtime) vmtest.Harness {
	var all sync.Map // *memvm.Driver to *faults
	open := func(host *memvm.Host, f *faults) vm.Runtime {
		d := memvm.New(memvm.Options{Host: host, Hang: f.hanging, Delay: f.delay, Fail: f.failing})
		all.Store(d, f)
		return wrap(d)
	}
	of := func(d vm.Runtime) *faults {
		f, _ := all.Load(driver(d))
		return f.(*faults)
	}
	return vmtest.Harness{
		Parallel: true,
		New:      func(t *testing.T) vm.Runtime { return open(memvm.NewHostIn(t.TempDir()), newFaults()) },
		Spec: func(t *testing.T) vm.Spec {
			s := address()
			s.Rootfs, s.Args, s.Cwd = roots.of(t), []string{"init"}, "/root"
			return s
		},
		RestoreSpec: func(*testing.T) vm.Spec { return address() },
		OtherRoot:   func(t *testing.T) string { return t.TempDir() },
		RootFile:    "/file",
		Skips:       skips,
		Accepts: []string{
			"RootfsReadOnly", "Mounts", "Args", "Env", "Cwd", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB", "MaxProcesses",
			"NetNS", "GuestIP", "Interfaces",
		},
		Guest: func(d vm.Runtime) vmtest.Guest { return guest{driver(d)} },
		Files: func(d vm.Runtime) vmtest.Guest { return disk{driver(d)} },
		BootID: func(_ context.Context, d vm.Runtime, id string) (string, error) {
			return driver(d).Guest(id).BootID(), nil
		},
		Echo: func(_ *testing.T, d vm.Runtime, id string) (echo, silent uint16) {
			driver(d).Guest(id).Listen(7, func(_ *memvm.Guest, c net.Conn) { _, _ = io.Copy(c, c) })
			return 7, 9
		},
		Print: func(_ *testing.T, d vm.Runtime, id string, lines []string) {
			for _, line := range lines {
				driver(d).Guest(id).Print(line)
			}
		},
		Kill:      func(_ *testing.T, d vm.Runtime, id string) { driver(d).Guest(id).Exit("signal: killed") },
		Leftovers: func(_ *testing.T, d vm.Runtime) []string { return driver(d).Host().Objects() },
		Reopen:    func(_ *testing.T, d vm.Runtime) vm.Runtime { return open(driver(d).Host(), of(d)) },
		Hold: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			return of(d).plant(of(d).hold, op, id)
		},
		Hang: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			return of(d).plant(of(d).hang, op, id)
		},
		Look: func(_ context.Context, d vm.Runtime, id string, question ...string) (string, error) {
			return look(driver(d).Guest(id), question), nil
		},
		Honoured: map[string]func(*testing.T, vm.Runtime){"Interfaces": interfaces},
		Crash: func(t *testing.T, d vm.Runtime, c vmtest.Call) vm.Runtime {
			entered, _ := of(d).plant(of(d).die, c.Point(), c.ID)
			done := make(chan error, 1)
			go func() { done <- c.Do(context.WithoutCancel(t.Context()), d) }()
			select {
			case <-entered:
			case err := <-done:
				t.Errorf("%s returned %v before it got half-way", c.Op, err)
			}
			return open(driver(d).Host(), newFaults())
		},
		Missing: map[string]string{"Confinement": "an in-memory machine has no processes"},
		Fail: func(t *testing.T, d vm.Runtime, op, id string) {
			f := of(d)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.fail[op+" "+id] = true
		},
	}
}

// skips are the rules that an in-memory machine cannot show. A new one must be
// entered here.
var skips = []string{
	"honour/kernel-command-line",
	"confine/namespaces-are-its-own",
	"confine/it-cannot-get-new-privileges",
	"confine/system-calls-are-filtered",
	"confine/capabilities-are-those-allowed",
	"confine/descriptors-are-those-that-are-expected",
	"confine/other-machines-files-are-out-of-reach",
}

func TestConformance(t *testing.T) {
	vmtest.Run(t, harness(func(d *memvm.Driver) vm.Runtime { return d }))
}

// TestConformanceBasic runs the suite on a driver without the optional
// interfaces: their absence is a behaviour too.
func TestConformanceBasic(t *testing.T) {
	vmtest.Run(t, harness(memvm.Basic))
}

// TestConformanceBare runs what is left of the suite for a harness that can do
// nothing but make machines.
func TestConformanceBare(t *testing.T) {
	full := harness(memvm.Basic)
	const why = "this test is about harnesses without hooks"
	h := vmtest.Harness{
		New: full.New, Spec: full.Spec, RestoreSpec: full.RestoreSpec, Accepts: full.Accepts, Honoured: full.Honoured, Parallel: true,
		Missing: map[string]string{"Guest": why, "Files": why, "BootID": why, "Echo": why, "Print": why, "Kill": why,
			"Leftovers": why, "Reopen": why, "Hold": why, "Hang": why, "Fail": why, "OtherRoot": why, "Look": why,
			"Confinement": why, "Crash": why},
	}
	h.Skips = vmtest.Skipped(h)
	vmtest.Run(t, h)
}

func TestRulesAreUnique(t *testing.T) {
	names := vmtest.Rules()
	slices.Sort(names)
	if n := len(names); len(slices.Compact(names)) != n {
		t.Error("two rules have one name")
	}
}

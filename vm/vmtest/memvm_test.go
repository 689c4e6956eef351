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
	fail map[string]bool
}

func newFaults() *faults {
	return &faults{hold: map[string]*hold{}, hang: map[string]*hold{}, fail: map[string]bool{}}
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
	f.mu.Unlock()
	if h != nil {
		close(h.entered)
		<-h.released
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
		Spec:     func(*testing.T) vm.Spec { return vm.Spec{Rootfs: "/rootfs", Args: []string{"init"}} },
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
		Fail: func(t *testing.T, d vm.Runtime, op, id string) {
			f := of(d)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.fail[op+" "+id] = true
		},
	}
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
	vmtest.Run(t, vmtest.Harness{
		New: full.New, Spec: full.Spec, Accepts: full.Accepts, Parallel: true,
		Missing: map[string]string{"Guest": why, "Files": why, "BootID": why, "Echo": why, "Print": why, "Kill": why,
			"Leftovers": why, "Reopen": why, "Hold": why, "Hang": why, "Fail": why},
	})
}

func TestRulesAreUnique(t *testing.T) {
	names := vmtest.Rules()
	slices.Sort(names)
	if n := len(names); len(slices.Compact(names)) != n {
		t.Error("two rules have one name")
	}
}

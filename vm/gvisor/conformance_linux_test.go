package gvisor

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// points are the holds and failures that a case asked for, by "op id".
type points struct {
	mu   sync.Mutex
	hold map[string]func()
	fail map[string]error
}

func (p *points) reach(op, id string) error {
	p.mu.Lock()
	hold, err := p.hold[op+" "+id], p.fail[op+" "+id]
	delete(p.hold, op+" "+id)
	delete(p.fail, op+" "+id)
	p.mu.Unlock()
	if hold != nil {
		hold()
	}
	return err
}

func TestConformance(t *testing.T) {
	needRoot(t)
	var all sync.Map      // *Driver to *points
	var reopened sync.Map // *Driver to Config
	with := func(d *Driver) *Driver {
		p := &points{hold: map[string]func(){}, fail: map[string]error{}}
		d.halfWay = p.reach
		all.Store(d, p)
		return d
	}
	of := func(d vm.Runtime) *points {
		p, _ := all.Load(d)
		return p.(*points)
	}
	vmtest.Run(t, vmtest.Harness{
		New: func(t *testing.T) vm.Runtime {
			d := newDriver(t)
			// The last driver of a case is closed after the suite's clean-up.
			t.Cleanup(func() { closeAll(t, &reopened, d.conf) })
			return with(d)
		},
		Spec: func(t *testing.T) vm.Spec { return guestSpec(t) },
		RestoreSpec: func(t *testing.T) vm.Spec {
			s := guestSpec(t)
			return vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP}
		},
		Accepts: []string{"RootfsReadOnly", "Mounts", "Args", "Env", "Cwd", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB",
			"MaxProcesses", "NetNS", "GuestIP"},
		Guest: func(d vm.Runtime) vmtest.Guest { return client{d.(*Driver)} },
		Files: func(d vm.Runtime) vmtest.Guest { return disk{client{d.(*Driver)}} },
		BootID: func(ctx context.Context, d vm.Runtime, id string) (string, error) {
			return client{d.(*Driver)}.do(ctx, id, "GET", "/boot", "")
		},
		Echo: func(t *testing.T, d vm.Runtime, id string) (echo, silent uint16) {
			if _, err := (client{d.(*Driver)}).do(t.Context(), id, "GET", "/ping", ""); err != nil {
				t.Fatal(err)
			}
			return 7, 9
		},
		Print: func(t *testing.T, d vm.Runtime, id string, lines []string) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			text := strings.Join(lines, "\n") + "\n"
			if _, err := (client{d.(*Driver)}).do(ctx, id, "POST", "/console", text); err != nil {
				t.Fatal(err)
			}
		},
		Kill: func(t *testing.T, d vm.Runtime, id string) {
			if err := unix.Kill(mustFind(t, d.(*Driver), id).sandbox.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		Leftovers: func(_ *testing.T, d vm.Runtime) []string { return leftovers(d.(*Driver)) },
		Reopen: func(t *testing.T, d vm.Runtime) vm.Runtime {
			if err := d.(*Driver).Close(); err != nil {
				t.Fatal(err)
			}
			again, err := New(d.(*Driver).conf)
			if err != nil {
				t.Fatal(err)
			}
			reopened.Store(again, again.conf)
			return with(again)
		},
		Hold: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			entered, released := make(chan struct{}), make(chan struct{})
			p := of(d)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.hold[op+" "+id] = func() { close(entered); <-released }
			return entered, sync.OnceFunc(func() { close(released) })
		},
		Fail: func(t *testing.T, d vm.Runtime, op, id string) {
			p := of(d)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.fail[op+" "+id] = unix.EIO
		},
		Missing: map[string]string{"Hang": "the next change makes it"},
	})
}

// closeAll closes the drivers with the directories of conf.
func closeAll(t *testing.T, drivers *sync.Map, conf Config) {
	drivers.Range(func(d, c any) bool {
		if c.(Config).RunDir == conf.RunDir {
			if err := d.(*Driver).Close(); err != nil {
				t.Error(err)
			}
			drivers.Delete(d)
		}
		return true
	})
}

func mustFind(t testing.TB, d *Driver, id string) *machine {
	t.Helper()
	m, err := d.find("find", id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

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
	var all sync.Map // *Driver to *points
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
		New:  func(t *testing.T) vm.Runtime { return with(newDriver(t)) },
		Spec: func(t *testing.T) vm.Spec { return guestSpec(t) },
		RestoreSpec: func(t *testing.T) vm.Spec {
			s := guestSpec(t)
			return vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP}
		},
		Accepts: []string{"RootfsReadOnly", "Mounts", "Args", "Env", "Cwd", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB",
			"MaxProcesses", "NetNS", "GuestIP"},
		Guest: func(d vm.Runtime) vmtest.Guest { return client{d.(*Driver)} },
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
			if err := unix.Kill(d.(*Driver).find(id).sandbox.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		Leftovers: func(_ *testing.T, d vm.Runtime) []string { return leftovers(d.(*Driver)) },
		Reopen: func(t *testing.T, d vm.Runtime) vm.Runtime {
			if err := d.(*Driver).Close(); err != nil {
				t.Fatal(err)
			}
			return with(open(t, d.(*Driver).conf))
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
	})
}

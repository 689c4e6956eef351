package gvisor

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

func TestConformance(t *testing.T) {
	h := conformance(t)
	h.Accepts = append(h.Accepts, "Mounts")
	vmtest.Run(t, h)
}

// TestConformanceOfImages has an image as root.
func TestConformanceOfImages(t *testing.T) {
	h := conformance(t)
	h.Spec = func(t *testing.T) vm.Spec { return imageSpec(t) }
	h.OtherRoot = func(t *testing.T) string { return makeImage(t, t.TempDir()) }
	// A directory would need a file server: see oci.CheckImages.
	h.Skips = append(h.Skips, "honour/disk-of-root-and-mounts-is-one", "honour/mounts",
		"honour/mounts-of-a-restore-have-their-own-sources", "honour/mount-points-are-not-made-in-the-image")
	vmtest.Run(t, h)
}

// conformance is the harness of machines whose root is a directory, but for mounts.
func conformance(t *testing.T) vmtest.Harness {
	needRoot(t)
	var all sync.Map      // *Driver to *vmtest.Points
	var reopened sync.Map // *Driver to Config
	with := func(d *Driver) *Driver {
		p := &vmtest.Points{}
		d.points.halfWay = p.Reach
		all.Store(d, p)
		return d
	}
	of := func(d vm.Runtime) *vmtest.Points {
		p, _ := all.Load(d)
		return p.(*vmtest.Points)
	}
	return vmtest.Harness{
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
		Accepts: []string{"RootfsReadOnly", "Args", "Env", "Cwd", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB",
			"MaxProcesses", "NetNS", "GuestIP"},
		OtherRoot: func(t *testing.T) string { return t.TempDir() },
		RootFile:  "/tmp/.keep",
		Look: func(ctx context.Context, d vm.Runtime, id string, question ...string) (string, error) {
			return client{d.(*Driver)}.do(ctx, id, "POST", "/look", strings.Join(question, "\x00"))
		},
		Processors:  guestCPUs,
		Confinement: confinement,
		Crash: func(t *testing.T, d vm.Runtime, c vmtest.Call) vm.Runtime {
			if err := d.(*Driver).Close(); err != nil {
				t.Fatal(err)
			}
			dieHalfWay(t, d.(*Driver).conf, c)
			again, err := New(d.(*Driver).conf)
			if err != nil {
				t.Fatal(err)
			}
			reopened.Store(again, again.conf)
			return with(again)
		},
		Skips: []string{"honour/kernel-command-line"},
		// A destroy waits for the call in progress, then breaks it off and waits for that.
		Limits: vmtest.Limits{Case: slow(30 * time.Second), Destroy: turn.Patience + turn.Bound + 3*time.Second},
		Guest:  func(d vm.Runtime) vmtest.Guest { return client{d.(*Driver)} },
		Files:  func(d vm.Runtime) vmtest.Guest { return disk{client{d.(*Driver)}} },
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			text := strings.Join(lines, "\n") + "\n"
			if _, err := (client{d.(*Driver)}).do(ctx, id, "POST", "/console", text); err != nil {
				t.Fatal(err)
			}
		},
		Kill: func(t *testing.T, d vm.Runtime, id string) {
			// An own handle: the driver may be closed before the process has ended.
			sandbox := mustFind(t, d.(*Driver), id).sandbox
			if err := process.KillRecorded(sandbox.PID, sandbox.Start); err != nil {
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
		Hold: func(_ *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) { return of(d).Hold(op, id) },
		Fail: func(_ *testing.T, d vm.Runtime, op, id string) { of(d).Fail(op, id) },
		Hang: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			entered := make(chan struct{})
			if op != "create" {
				close(entered)
				return entered, vmtest.Freeze(t, mustFind(t, d.(*Driver), id).sandbox.PID)
			}
			release := make(chan func(), 1)
			forget := of(d).At(op, id, func() {
				m := d.(*Driver).unfinished(id)
				release <- vmtest.Freeze(t, m.sandbox.PID)
				close(entered)
			})
			return entered, func() {
				forget()
				select {
				case thaw := <-release:
					thaw()
				default:
				}
			}
		},
	}
}

// unfinished returns a machine in the middle of its creation.
func (d *Driver) unfinished(id string) *machine {
	for _, m := range d.machines.All() {
		if other, _, _ := d.machines.State(m); other == id {
			return m
		}
	}
	return nil
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
	m, err := d.machines.Find("find", id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

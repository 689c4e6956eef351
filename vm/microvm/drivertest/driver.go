//go:build linux

package drivertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// Kind is a driver under test.
type Kind struct {
	// New opens the driver.
	New func(vm.Options) (*driver.Driver, error)
	// Programs are the names of the processes of machines, as in /proc/PID/comm.
	Programs []string
	// Case limits one case of the suite: the processors of a guest can be slow.
	Case time.Duration
	// Confinement describes the processes of a machine.
	Confinement func(d *Driver, r Record) []vmtest.Confined
}

// Driver is a driver value with what it was opened with.
type Driver struct {
	*driver.Driver

	Options vm.Options
}

// NewDriver opens a new driver below a short temporary directory. It is closed at the end of the test.
func (k Kind) NewDriver(t testing.TB) *Driver {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "mv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return k.Open(t, vm.Options{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Kernels: Kernels(t),
		Instance: fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))})
}

// Open opens a driver, and closes it at the end of the test.
func (k Kind) Open(t testing.TB, options vm.Options) *Driver {
	t.Helper()
	d, err := k.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Driver{d, options}
}

// DestroyAll destroys the machines of a driver at the end of a test.
func (d *Driver) DestroyAll(t testing.TB) {
	t.Cleanup(func() {
		views, _ := d.List(context.Background())
		for _, v := range views {
			_ = d.Destroy(context.Background(), v.ID)
		}
	})
}

// Machines and Disks have a directory for each machine; the first has also its record.
func (d *Driver) Machines() string { return filepath.Join(d.Options.RunDir, "machines") }

// Disks has the disks of machines.
func (d *Driver) Disks() string {
	return filepath.Join(d.Options.StateDir, "machines", d.Options.Instance)
}

// Record is what the driver has written of a machine.
type Record struct {
	ID     string
	Status vm.Status // empty until it is created
	PID    int
	Start  uint64
	Spec   vm.Spec

	Key string `json:"-"`
}

// Records are those of all machines.
func (d *Driver) Records(t testing.TB) (all []Record) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.Machines(), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		r := Record{Key: strings.TrimSuffix(filepath.Base(file), ".json")}
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// Find is the record of a machine.
func (d *Driver) Find(t testing.TB, id string) Record {
	t.Helper()
	for _, r := range d.Records(t) {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("machine %s has no record", id)
	return Record{}
}

var links atomic.Int64

// Spec is a machine with a separate network namespace, connected to the tests' namespace.
func Spec(t testing.TB) vm.Spec {
	t.Helper()
	spec := vm.Spec{Rootfs: rootImage(t), Args: []string{"/init"}, Cwd: "/", MemoryMiB: 128, DiskMiB: 64}
	spec.NetNS, spec.GuestIP = testspace.NetNS(t, int(links.Add(1)))
	return spec
}

// slow is a bound that protects against a hang, on a machine that is RUNDLET_TEST_SLOWNESS times as slow as others.
func slow(bound time.Duration) time.Duration {
	if times, err := strconv.Atoi(os.Getenv("RUNDLET_TEST_SLOWNESS")); err == nil && times > 1 {
		return bound * time.Duration(times)
	}
	return bound
}

// Context ends with the test, or after two minutes on an ordinary host.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), slow(2*time.Minute))
	t.Cleanup(cancel)
	return ctx
}

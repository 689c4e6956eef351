package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/driver"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// shared is what all tests have, and removeShared removes.
var shared = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "qemushared"); err != nil {
		return "", err
	}
	sharedDir = dir
	root := filepath.Join(dir, "root")
	for _, sub := range append([]string{"", "proc", "sys", "dev", "tmp", "etc", "mnt"}, vmtest.MountPoints()...) {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			return dir, err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return dir, err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(root, "tmp", ".keep"), nil, 0o644), os.WriteFile(filepath.Join(root, "init"), self, 0o755)); err != nil {
		return dir, err
	}
	image, err := erofs.Make(context.Background(), erofs.Dir(root), dir, erofs.Options{ForGuest: true})
	if err != nil {
		return dir, err
	}
	return dir, os.Rename(image.Path, filepath.Join(dir, "image"))
})

// sharedDir is empty until there is one.
var sharedDir string

func removeShared() {
	if sharedDir != "" {
		_ = os.RemoveAll(sharedDir)
	}
}

func rootImage(t testing.TB) string {
	t.Helper()
	dir, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "image")
}

// kernelEnv is the directory of a kernel package that was extracted.
const kernelEnv = "RUNDLET_TEST_KERNEL"

var installed = sync.OnceValues(func() (string, error) {
	dir, err := shared()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "kernels")
	_, err = kernel.Install(context.Background(), dir, os.Getenv(kernelEnv), nil)
	return dir, err
})

// kernels is a directory with an installed kernel.
func kernels(t testing.TB) string {
	t.Helper()
	if os.Getenv(kernelEnv) == "" {
		t.Skip("needs a guest kernel; make microvm and make test have one")
	}
	dir, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var instances atomic.Int64

// opened is a driver value with what it was opened with.
type opened struct {
	*driver.Driver

	options vm.Options
}

// newDriver opens a new driver below a short temporary directory.
func newDriver(t testing.TB) *opened {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "qm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return open(t, vm.Options{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Kernels: kernels(t),
		Instance: fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))})
}

func open(t testing.TB, options vm.Options) *opened {
	t.Helper()
	d, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &opened{d, options}
}

// destroyAll destroys the machines of a driver at the end of a test.
func (d *opened) destroyAll(t *testing.T) {
	t.Cleanup(func() {
		views, _ := d.List(context.Background())
		for _, v := range views {
			_ = d.Destroy(context.Background(), v.ID)
		}
	})
}

// machines and disks have a directory for each machine; the first has also its record.
func (d *opened) machines() string { return filepath.Join(d.options.RunDir, "machines") }
func (d *opened) disks() string {
	return filepath.Join(d.options.StateDir, "machines", d.options.Instance)
}

// record is what the driver has written of a machine.
type record struct {
	ID     string
	Status vm.Status // empty until it is created
	PID    int
	Start  uint64
	Spec   vm.Spec

	key string
}

// records are those of all machines.
func (d *opened) records(t testing.TB) (all []record) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.machines(), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		r := record{key: strings.TrimSuffix(filepath.Base(file), ".json")}
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

// find is the record of a machine.
func (d *opened) find(t testing.TB, id string) record {
	t.Helper()
	for _, r := range d.records(t) {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("machine %s has no record", id)
	return record{}
}

// argumentsOf are those of a process, each between two zero bytes.
func argumentsOf(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(data)
}

var links atomic.Int64

// guestSpec is a machine with a separate network namespace, connected to the tests' namespace.
func guestSpec(t testing.TB) vm.Spec {
	t.Helper()
	spec := vm.Spec{Rootfs: rootImage(t), Args: []string{"/init"}, Cwd: "/", MemoryMiB: 128, DiskMiB: 64}
	spec.NetNS, spec.GuestIP = testspace.NetNS(t, int(links.Add(1)))
	return spec
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
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

// newDriver opens a new driver below a short temporary directory.
func newDriver(t testing.TB) *Driver {
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
	conf := Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Kernels: kernels(t),
		Instance: fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))}
	return open(t, conf)
}

func open(t testing.TB, conf Config) *Driver {
	t.Helper()
	d, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
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

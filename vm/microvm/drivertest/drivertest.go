//go:build linux

// Package drivertest is the tests that each driver over vm/microvm/driver has: the suite vm/vmtest in virtual machines, with a guest for it, and what
// only such machines have. They need root, and the kernel package in the directory RUNDLET_TEST_KERNEL; without it they are skipped. It may import vm,
// vm/microvm, vm/vmtest, image/erofs, envd and internal; only tests of drivers import it.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const nestedEnv = "MICROVM_TEST_NESTED"

// Main is TestMain: it runs the tests in separate network and mount namespaces, so that nothing of them is ever seen by the host. The same binary is
// also the guest's first program.
func Main(m *testing.M) {
	if vmtest.Idle() {
		return
	}
	if os.Args[0] == "/init" {
		guestMain()
		return
	}
	if os.Geteuid() == 0 && os.Getenv(nestedEnv) == "" {
		runtime.LockOSThread()
		os.Exit(testspace.Again(nestedEnv+"=1", func(pid int) string { return fmt.Sprintf("rundlet-test-%d-", pid) }))
	}
	if os.Getenv(nestedEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if sharedDir != "" {
		_ = os.RemoveAll(sharedDir)
	}
	os.Exit(code)
}

// shared is what all tests have, and Main removes.
var shared = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "mvshared"); err != nil {
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
	// A monitor that reads it as the user of its machine lets all users read it. Here they can already, so that the suite sees no change.
	return dir, errors.Join(os.Chmod(image.Path, 0o444), os.Rename(image.Path, filepath.Join(dir, "image")))
})

// sharedDir is empty until there is one.
var sharedDir string

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

// Kernels is a directory with an installed kernel.
func Kernels(t testing.TB) string {
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

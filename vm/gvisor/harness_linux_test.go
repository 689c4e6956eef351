package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/testspace"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// dialReady dials the agent's port and waits for a guest that does not listen
// yet.
func dialReady(ctx context.Context, d *Driver, id string) (net.Conn, error) {
	for {
		conn, err := d.Dial(ctx, id, 49983)
		if !errors.Is(err, vm.ErrUnavailable) {
			return conn, err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

var instances atomic.Int64

// ownEngine makes this test binary the program of its sandboxes.
const ownEngine = "/proc/self/exe"

// newDriver opens a new driver below a short temporary directory.
func newDriver(t testing.TB, change ...func(*Config)) *Driver {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "gv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range alive(dir) {
			t.Errorf("process %d of this test runs on", pid)
		}
		_ = process.KillMatching(func(commandLine string) bool { return strings.HasPrefix(bundleIn(commandLine), dir+"/") })
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	conf := Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Engine: ownEngine,
		Instance: fmt.Sprintf("test-%d-%d", os.Getpid(), instances.Add(1))}
	for _, f := range change {
		f(&conf)
	}
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

var rootfs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gvroot")
	if err != nil {
		return "", err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	for _, sub := range append([]string{"proc", "sys", "dev", "tmp", "etc", "mnt", "mnt/ro", "mnt/private"}, vmtest.MountPoints()...) {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "tmp", ".keep"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "init"), self, 0o755))
})

// makeRootfs returns a root directory that holds nothing but the test binary,
// shared by all tests.
func makeRootfs(t testing.TB) string {
	t.Helper()
	dir, err := rootfs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var linkNumbers atomic.Int64

// guestSpec is a machine with a separate network namespace, connected to the
// tests' namespace.
func guestSpec(t testing.TB) vm.Spec {
	t.Helper()
	n := linkNumbers.Add(1)
	spec := vm.Spec{Rootfs: makeRootfs(t), Args: []string{"/init"}, Cwd: "/"}
	spec.NetNS, spec.GuestIP = testspace.NetNS(t, int(n))
	return spec
}

// leftovers lists every host object of a driver: processes (also dead ones
// that were not collected), control groups, mounts and files.
func leftovers(d *Driver) (all []string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		state, _, err := process.State(pid)
		if line, _ := process.CommandLine(pid); strings.Contains(line, d.conf.RunDir) || err == nil && state == 'Z' && parent(pid) == os.Getpid() {
			all = append(all, "process "+entry.Name())
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		// Close removes the parent of all machines.
		if err == nil && entry.IsDir() && strings.Contains(path, "rundlet-"+d.conf.Instance+"/") {
			all = append(all, "cgroup "+path)
		}
		return nil
	})
	for _, dir := range []string{d.conf.RunDir, d.conf.StateDir} {
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			// Close removes this one, too.
			if filepath.Base(path) != "null-netns" {
				all = append(all, "file "+path)
			}
			return nil
		})
	}
	return all
}

// alive lists the processes with a bundle below dir.
func alive(dir string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if line, _ := process.CommandLine(pid); strings.HasPrefix(bundleIn(line), dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parent(pid int) int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

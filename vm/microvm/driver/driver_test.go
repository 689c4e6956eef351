//go:build linux

package driver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// idleEnv makes this program one that only lives.
const idleEnv = "MICROVM_TEST_IDLE"

func TestMain(m *testing.M) {
	if os.Getenv(idleEnv) != "" {
		_ = unix.Pause()
		return
	}
	os.Exit(m.Run())
}

// double is a monitor whose process only lives, as the root of the host. Its guest answers each call at once. A file in the machine's directory says
// that the processors run, as long as the process does.
type double struct{ *machine.State }

func (d double) running() string { return filepath.Join(d.Dir, "running") }

func (d double) Launch(context.Context, machine.BootFiles) error {
	p, err := idle(d.Dir)
	d.Process = p
	return err
}

// idle starts a process that only lives, with an argument.
func idle(argument string) (*process.Process, error) {
	cmd := exec.Command("/proc/self/exe", argument)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), idleEnv+"=1"), &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return process.OpenChild(cmd.Process.Pid)
}

func (d double) Load(context.Context) error   { return nil }
func (d double) Resume(context.Context) error { return os.WriteFile(d.running(), nil, 0o600) }
func (d double) HangUp()                      {}

func (d double) Pause(context.Context) error {
	if err := os.Remove(d.running()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d double) Running(context.Context) (bool, error) {
	_, err := os.Stat(d.running())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d double) Save(_ context.Context, dir string) error {
	return errors.Join(os.WriteFile(filepath.Join(dir, snapshots.MemoryFile), []byte("memory"), 0o600), os.WriteFile(filepath.Join(dir, snapshots.StateFile), []byte("state"), 0o600))
}

func (d double) Dial(ctx context.Context) (net.Conn, error) {
	if on, err := d.Running(ctx); !on {
		return nil, errors.Join(errors.New("the guest stands still"), err)
	}
	host, guest := net.Pipe()
	go func() {
		defer guest.Close()
		for lines := bufio.NewScanner(guest); lines.Scan(); {
			var call link.Call
			if json.Unmarshal(lines.Bytes(), &call) == nil {
				fmt.Fprintf(guest, "{\"nonce\": %q}\n", call.Nonce)
			}
		}
	}()
	return host, nil
}

var doubleHypervisor = Hypervisor{Name: "double", Version: "1", Platform: "none", Isolation: "none", MaxVCPUs: 2, Overhead: spec.Overhead{MemoryMiB: 64, Threads: 100},
	Argument: func(dir string) string { return dir }, New: func(m *machine.State) machine.Monitor { return double{m} }}

// options are those of a driver below a temporary directory, with a kernel.
func options(t *testing.T) vm.Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "mv") // A short one.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const id = "0123456789ab"
	kernels := filepath.Join(dir, "kernels")
	if err := errors.Join(os.MkdirAll(filepath.Join(kernels, id), 0o700), os.WriteFile(filepath.Join(kernels, id, "kernel.json"), []byte("{}"), 0o600),
		os.Symlink(id, filepath.Join(kernels, "current"))); err != nil {
		t.Fatal(err)
	}
	return vm.Options{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Instance: fmt.Sprintf("mv-%d", os.Getpid())}
}

func open(t *testing.T, o vm.Options) *Driver {
	t.Helper()
	d, err := Open(o, doubleHypervisor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range d.machines.Views() {
			_ = d.Destroy(context.Background(), v.ID)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// image is a root file system, as far as a driver looks at it.
func image(t *testing.T) vm.Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	data := make([]byte, 4096)
	copy(data[1024:], []byte{0xe2, 0xe1, 0xf5, 0xe0})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return vm.Spec{Rootfs: path, RootfsReadOnly: true, Args: []string{"/init"}}
}

// A machine lives with any hypervisor: it is made, started, stopped, saved, restored and adopted.
func TestALife(t *testing.T) {
	o, ctx := options(t), t.Context()
	d := open(t, o)
	made := image(t)
	if err := errors.Join(d.Create(ctx, "a", made), d.Start(ctx, "a"), d.Snapshot(ctx, "a", "one"), d.Stop(ctx, "a"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, "b", vm.Spec{RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}}); err != nil {
		t.Fatal(err)
	}
	if all := d.machines.All(); all[0].UID == all[1].UID || min(all[0].UID, all[1].UID) < firstUID {
		t.Errorf("users %d and %d", all[0].UID, all[1].UID)
	}
	if stats, err := d.Stats(ctx, "a"); d.limits && (err != nil || stats.MemoryLimitBytes != (spec.DefaultMemoryMiB+64)<<20) {
		t.Errorf("%+v, %v", stats, err)
	}
	made.VCPUs = 3
	if err := d.Create(ctx, "c", made); !errors.Is(err, vm.ErrInvalid) {
		t.Errorf("more processors than the hypervisor gives: %v", err)
	}
	if stamp := d.HostStamp(); stamp.Driver != "double" || stamp.Version != "1" || stamp.Platform != "none" {
		t.Errorf("%+v", stamp)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, o)
	views, lost, err := again.Adopt(ctx)
	if err != nil || len(lost) > 0 || len(views) != 2 {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	for id, want := range map[string]vm.Status{"a": vm.StatusStopped, "b": vm.StatusRunning} {
		if v, ok, err := again.Get(ctx, id); !ok || err != nil || v.Status != want {
			t.Errorf("%s: %+v, %v", id, v, err)
		}
	}
	if names, _, err := again.ListSnapshots(ctx, "a"); err != nil || !slices.Equal(names, []string{"one", "files"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := errors.Join(again.Destroy(ctx, "a"), again.Destroy(ctx, "b")); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{again.dirs.machines(), again.dirs.disks(), again.dirs.pending()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v are left in %s", err, left, dir)
		}
	}
}

// The record of a machine of the first version that wrote one is adopted. The text is not to be changed with the type.
func TestARecordOfTheFirstVersionIsAdopted(t *testing.T) {
	o, ctx := options(t), t.Context()
	d := open(t, o)
	const key = "00112233445566aa"
	dir := d.dirs.machine(key)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(d.dirs.disk(key), 0o700)); err != nil {
		t.Fatal(err)
	}
	p, err := idle(dir)
	if err != nil {
		t.Fatal(err)
	}
	made := image(t)
	text := fmt.Sprintf(`{"format": 1, "id": "a", "boot_id": %q, "created_at": "2026-11-01T10:00:00Z",
		"spec": {"rootfs": %q, "rootfs_read_only": true, "args": ["/init"], "memory_mib": 128}, "limits": {"vcpus": 2, "memory_mib": 100},
		"status": "stopped", "uid": 60017, "restored": true, "cold": true, "network": {"mac": "02:00:00:00:00:01", "addresses": ["10.0.0.2/30"]}, "pid": %d, "start": %d}`,
		d.boot, made.Rootfs, p.PID, p.Start)
	p.Release()
	if err := os.WriteFile(d.dirs.record(key), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	views, lost, err := d.Adopt(ctx)
	if err != nil || len(lost) > 0 || len(views) != 1 || views[0].ID != "a" {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	m, err := d.machines.Acquire(ctx, "look", "a") // When it has answered.
	if err != nil {
		t.Fatal(err)
	}
	created := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	if m.Spec.MemoryMiB != 128 || m.limits != (spec.Limits{VCPUs: 2, MemoryMiB: 100}) || m.UID != 60017 || !m.Restored || !m.Cold || m.Network.MAC != "02:00:00:00:00:01" ||
		!m.created.Equal(created) || m.Process.PID != p.PID || m.Unsure {
		t.Errorf("%+v", m)
	}
	// What is written now has the same names.
	var old, now map[string]any
	written, err := os.ReadFile(d.dirs.record(key))
	if err := errors.Join(err, json.Unmarshal([]byte(text), &old), json.Unmarshal(written, &now)); err != nil {
		t.Fatal(err)
	}
	for name := range old {
		if _, there := now[name]; !there {
			t.Errorf("the record has no %s any more", name)
		}
	}
	m.Turn.Unlock()
}

// A call that failed after it had let a stopped guest run: the next one finds the machine stopped, and it can be started.
func TestAStoppedMachineIsStoppedAgain(t *testing.T) {
	o, ctx := options(t), t.Context()
	d := open(t, o)
	if err := errors.Join(d.Create(ctx, "a", image(t)), d.Start(ctx, "a"), d.Stop(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	m, err := d.machines.Find("find", "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	m.Unsure = true
	if err := d.Stop(ctx, "a"); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("stop of a stopped machine: %v", err)
	}
	if running, err := m.Monitor.Running(ctx); running || err != nil {
		t.Errorf("it runs: %v, %v", running, err)
	}
	if err := d.Start(ctx, "a"); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := options(t)
	for name, c := range map[string]struct {
		change func(*vm.Options)
		want   error
	}{
		"a relative path":      {func(o *vm.Options) { o.StateDir = "state" }, vm.ErrInvalid},
		"a long run directory": {func(o *vm.Options) { o.RunDir += strings.Repeat("x", maxRunDir) }, vm.ErrInvalid},
		"a bad instance":       {func(o *vm.Options) { o.Instance = "../a" }, vm.ErrInvalid},
		"no kernel":            {func(o *vm.Options) { o.Kernels = t.TempDir() }, vm.ErrUnsupported},
	} {
		o := good
		c.change(&o)
		if _, err := Open(o, doubleHypervisor); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "open double driver") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(good.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left of drivers that were not opened: %v", err)
	}
}

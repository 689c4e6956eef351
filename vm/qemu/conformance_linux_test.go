package qemu

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

func TestConformance(t *testing.T) {
	var all sync.Map      // *opened to *vmtest.Points
	var reopened sync.Map // *opened to nothing
	with := func(d *opened) *opened {
		p := &vmtest.Points{}
		d.HalfWay = p.Reach
		all.Store(d, p)
		return d
	}
	of := func(d vm.Runtime) *vmtest.Points {
		p, _ := all.Load(d)
		return p.(*vmtest.Points)
	}
	again := func(t *testing.T, options vm.Options) vm.Runtime {
		d, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		o := with(&opened{d, options})
		reopened.Store(o, nil)
		return o
	}
	vmtest.Run(t, vmtest.Harness{
		New: func(t *testing.T) vm.Runtime {
			d := newDriver(t)
			// The last driver of a case is closed after the suite's clean-up.
			t.Cleanup(func() { closeAll(t, &reopened, d.options) })
			return with(d)
		},
		Spec: func(t *testing.T) vm.Spec { return guestSpec(t) },
		RestoreSpec: func(t *testing.T) vm.Spec {
			s := guestSpec(t)
			return vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP}
		},
		Accepts: []string{"RootfsReadOnly", "Args", "Env", "Cwd", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB", "MaxProcesses", "NetNS", "GuestIP"},
		OtherRoot: func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "other")
			data, err := os.ReadFile(rootImage(t))
			if err == nil {
				err = os.WriteFile(path, append(data, make([]byte, 4096)...), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return path
		},
		RootFile: "/tmp/.keep",
		Look: func(ctx context.Context, d vm.Runtime, id string, question ...string) (string, error) {
			return client{d.(*opened)}.do(ctx, id, "POST", "/look", strings.Join(question, "\x00"))
		},
		Confinement: confinement,
		Crash: func(t *testing.T, d vm.Runtime, c vmtest.Call) vm.Runtime {
			if err := d.(*opened).Close(); err != nil {
				t.Fatal(err)
			}
			dieHalfWay(t, d.(*opened).options, c)
			return again(t, d.(*opened).options)
		},
		Skips: []string{"honour/kernel-command-line", "honour/disk-of-root-and-mounts-is-one", "honour/mounts",
			"honour/mounts-of-a-restore-have-their-own-sources", "honour/mount-points-are-not-made-in-the-image"},
		Limits: vmtest.Limits{Case: 3 * time.Minute, Destroy: turn.Patience + turn.Bound + 3*time.Second},
		Guest:  func(d vm.Runtime) vmtest.Guest { return client{d.(*opened)} },
		Files:  func(d vm.Runtime) vmtest.Guest { return disk{client{d.(*opened)}} },
		BootID: func(ctx context.Context, d vm.Runtime, id string) (string, error) {
			return client{d.(*opened)}.do(ctx, id, "POST", "/look", "read\x00/proc/sys/kernel/random/boot_id")
		},
		Echo: func(t *testing.T, d vm.Runtime, id string) (echo, silent uint16) {
			if _, err := (client{d.(*opened)}).do(t.Context(), id, "GET", "/ping", ""); err != nil {
				t.Fatal(err)
			}
			return 7, 9
		},
		Print: func(t *testing.T, d vm.Runtime, id string, lines []string) {
			if _, err := (client{d.(*opened)}).do(testContext(t), id, "POST", "/console", strings.Join(lines, "\n")+"\n"); err != nil {
				t.Fatal(err)
			}
		},
		Kill: func(t *testing.T, d vm.Runtime, id string) {
			// An own handle: the driver may be closed before the process has ended.
			own := d.(*opened).find(t, id)
			p, err := process.Open(own.PID, own.Start)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Release()
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		},
		Leftovers: func(_ *testing.T, d vm.Runtime) []string { return leftovers(d.(*opened)) },
		Reopen: func(t *testing.T, d vm.Runtime) vm.Runtime {
			if err := d.(*opened).Close(); err != nil {
				t.Fatal(err)
			}
			return again(t, d.(*opened).options)
		},
		Hold: func(_ *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) { return of(d).Hold(op, id) },
		Fail: func(_ *testing.T, d vm.Runtime, op, id string) { of(d).Fail(op, id) },
		Hang: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			entered := make(chan struct{})
			if op != "create" {
				close(entered)
				return entered, vmtest.Freeze(t, d.(*opened).find(t, id).PID)
			}
			release := make(chan func(), 1)
			forget := of(d).At(op, id, func() {
				release <- vmtest.Freeze(t, unfinished(t, d.(*opened)).PID)
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
	})
}

// confinement describes the process of a machine.
func confinement(t *testing.T, d vm.Runtime, id string) []vmtest.Confined {
	t.Helper()
	m, o := d.(*opened).find(t, id), d.(*opened)
	dir, disks := filepath.Join(o.machines(), m.key), filepath.Join(o.disks(), m.key)
	return []vmtest.Confined{{Name: "qemu", PID: m.PID, Private: []string{dir, dir + ".json", disks},
		Files: []string{"/dev/null", "/", "socket:*", "pipe:*", "anon_inode:*", "/memfd:*", "/dev/net/tun", "/dev/urandom", m.Spec.Rootfs,
			filepath.Join(dir, "*"), filepath.Join(disks, "*"), "/qmp", "/link", "/error", "/console.*", "/ram", "/disk", "/state"}}}
}

// unfinished returns the machine in the middle of its creation.
func unfinished(t *testing.T, d *opened) record {
	for _, r := range d.records(t) {
		if r.Status == "" {
			return r
		}
	}
	t.Fatal("no machine is being created")
	return record{}
}

// closeAll closes the drivers with the directories of options.
func closeAll(t *testing.T, drivers *sync.Map, options vm.Options) {
	drivers.Range(func(d, _ any) bool {
		if o := d.(*opened); o.options.RunDir == options.RunDir {
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			drivers.Delete(d)
		}
		return true
	})
}

// leftovers lists every host object of a driver: processes (also dead ones that were not collected), control groups and files.
func leftovers(d *opened) (all []string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if strings.Contains(argumentsOf(pid), d.options.RunDir) {
			all = append(all, "process "+entry.Name())
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		// Close removes the parent of all machines.
		if err == nil && entry.IsDir() && strings.Contains(path, "/rundlet-"+d.options.Instance+"-qemu/") {
			all = append(all, "cgroup "+path)
		}
		return nil
	})
	for _, dir := range []string{d.options.RunDir, d.options.StateDir} {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
			// The first files of guests are made once.
			if !strings.HasPrefix(filepath.Base(path), "initramfs-") {
				all = append(all, "file "+path)
			}
			return nil
		})
	}
	return all
}

const suiteCrashEnv = "QEMU_TEST_SUITE_CRASH"

// suiteCrash is a call that a process makes half-way.
type suiteCrash struct {
	StateDir, RunDir, Instance, Kernels string

	Call vmtest.Call
}

// TestSuiteCrashChild is the process that dies in the middle of a call of the suite.
func TestSuiteCrashChild(t *testing.T) {
	text := os.Getenv(suiteCrashEnv)
	if text == "" {
		t.Skip("TestConformance runs it, in separate processes")
	}
	var c suiteCrash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	d, err := New(vm.Options{StateDir: c.StateDir, RunDir: c.RunDir, Instance: c.Instance, Kernels: c.Kernels})
	if err != nil {
		t.Fatal(err)
	}
	d.HalfWay = func(op, id string) error {
		if op == c.Call.Point() && id == c.Call.ID {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		return nil
	}
	ctx := testContext(t)
	if _, lost, err := vmtest.Adopted(ctx, d); err != nil || len(lost) > 0 {
		t.Fatalf("lost %v, %v", lost, err)
	}
	t.Fatalf("survived %s: %v", c.Call.Op, c.Call.Do(ctx, d))
}

// dieHalfWay makes the call in a process that dies half-way.
func dieHalfWay(t *testing.T, options vm.Options, call vmtest.Call) {
	t.Helper()
	text, err := json.Marshal(suiteCrash{StateDir: options.StateDir, RunDir: options.RunDir, Instance: options.Instance, Kernels: options.Kernels, Call: call})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), "/proc/self/exe", "-test.run=^TestSuiteCrashChild$")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), suiteCrashEnv+"="+string(text))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process did not die half-way: %v\n%s", err, out)
	}
}

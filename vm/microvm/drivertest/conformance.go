//go:build linux

package drivertest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// Conformance runs the suite of vm/vmtest.
func (k Kind) Conformance(t *testing.T) {
	var all sync.Map      // *Driver to *vmtest.Points
	var reopened sync.Map // *Driver to nothing
	with := func(d *Driver) *Driver {
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
		d, err := k.New(options)
		if err != nil {
			t.Fatal(err)
		}
		o := with(&Driver{d, options})
		reopened.Store(o, nil)
		return o
	}
	vmtest.Run(t, vmtest.Harness{
		New: func(t *testing.T) vm.Runtime {
			d := k.NewDriver(t)
			// The last driver of a case is closed after the suite's clean-up.
			t.Cleanup(func() { closeAll(t, &reopened, d.Options) })
			return with(d)
		},
		Spec: func(t *testing.T) vm.Spec { return Spec(t) },
		RestoreSpec: func(t *testing.T) vm.Spec {
			s := Spec(t)
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
			return Client{d.(*Driver)}.Do(ctx, id, "POST", "/look", strings.Join(question, "\x00"))
		},
		Confinement: func(t *testing.T, d vm.Runtime, id string) []vmtest.Confined {
			o := d.(*Driver)
			return k.Confinement(o, o.Find(t, id))
		},
		Crash: func(t *testing.T, d vm.Runtime, c vmtest.Call) vm.Runtime {
			if err := d.(*Driver).Close(); err != nil {
				t.Fatal(err)
			}
			k.dieHalfWay(t, d.(*Driver).Options, c)
			return again(t, d.(*Driver).Options)
		},
		Skips: []string{"honour/kernel-command-line", "honour/disk-of-root-and-mounts-is-one", "honour/mounts",
			"honour/mounts-of-a-restore-have-their-own-sources", "honour/mount-points-are-not-made-in-the-image"},
		Limits: vmtest.Limits{Case: k.Case, Destroy: turn.Patience + turn.Bound + 3*time.Second},
		Guest:  func(d vm.Runtime) vmtest.Guest { return Client{d.(*Driver)} },
		Files:  func(d vm.Runtime) vmtest.Guest { return Disk{Client{d.(*Driver)}} },
		BootID: func(ctx context.Context, d vm.Runtime, id string) (string, error) {
			return Client{d.(*Driver)}.Do(ctx, id, "POST", "/look", "read\x00/proc/sys/kernel/random/boot_id")
		},
		Echo: func(t *testing.T, d vm.Runtime, id string) (echo, silent uint16) {
			if _, err := (Client{d.(*Driver)}).Do(t.Context(), id, "GET", "/ping", ""); err != nil {
				t.Fatal(err)
			}
			return 7, 9
		},
		Print: func(t *testing.T, d vm.Runtime, id string, lines []string) {
			if _, err := (Client{d.(*Driver)}).Do(Context(t), id, "POST", "/console", strings.Join(lines, "\n")+"\n"); err != nil {
				t.Fatal(err)
			}
		},
		Kill: func(t *testing.T, d vm.Runtime, id string) {
			// An own handle: the driver may be closed before the process has ended.
			own := d.(*Driver).Find(t, id)
			if err := process.KillRecorded(own.PID, own.Start); err != nil {
				t.Fatal(err)
			}
		},
		Leftovers: func(_ *testing.T, d vm.Runtime) []string { return k.leftovers(d.(*Driver)) },
		Reopen: func(t *testing.T, d vm.Runtime) vm.Runtime {
			if err := d.(*Driver).Close(); err != nil {
				t.Fatal(err)
			}
			return again(t, d.(*Driver).Options)
		},
		Hold: func(_ *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) { return of(d).Hold(op, id) },
		Fail: func(_ *testing.T, d vm.Runtime, op, id string) { of(d).Fail(op, id) },
		Hang: func(t *testing.T, d vm.Runtime, op, id string) (<-chan struct{}, func()) {
			entered := make(chan struct{})
			if op != "create" {
				close(entered)
				return entered, vmtest.Freeze(t, d.(*Driver).Find(t, id).PID)
			}
			release := make(chan func(), 1)
			forget := of(d).At(op, id, func() {
				release <- vmtest.Freeze(t, unfinished(t, d.(*Driver)).PID)
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

// unfinished returns the machine in the middle of its creation.
func unfinished(t *testing.T, d *Driver) Record {
	for _, r := range d.Records(t) {
		if r.Status == "" {
			return r
		}
	}
	t.Fatal("no machine is being created")
	return Record{}
}

// closeAll closes the drivers with the directories of options.
func closeAll(t *testing.T, drivers *sync.Map, options vm.Options) {
	drivers.Range(func(d, _ any) bool {
		if o := d.(*Driver); o.Options.RunDir == options.RunDir {
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			drivers.Delete(d)
		}
		return true
	})
}

// leftovers lists every host object of a driver: processes (also dead ones that were not collected), control groups and files.
func (k Kind) leftovers(d *Driver) (all []string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if k.belongs(d, pid) {
			all = append(all, "process "+entry.Name())
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		// Close removes the parent of all machines.
		if err == nil && entry.IsDir() && strings.Contains(path, "/rundlet-"+d.Options.Instance+"-"+d.Info().Driver+"/") {
			all = append(all, "cgroup "+path)
		}
		return nil
	})
	for _, dir := range []string{d.Options.RunDir, d.Options.StateDir} {
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

// belongs reports whether a process is that of a machine of a driver: what it is given, or has as its root, is below the directory of the test. One
// that has ended is if it is a child of this process that was not collected.
func (k Kind) belongs(d *Driver, pid int) bool {
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); !slices.Contains(k.Programs, strings.TrimSpace(string(name))) {
		return false
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	below := filepath.Dir(d.Options.RunDir) + "/"
	line, _ := process.CommandLine(pid)
	return strings.Contains(string(status), "\nState:\tZ") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) ||
		// The root of a mount is a path in its file system, which can begin elsewhere.
		strings.Contains(line, below) || strings.Contains(string(mounts), "/"+filepath.Base(below)+"/")
}

package gvisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// programInMount is a guest whose program is in a mount, as all programs of the
// base are in the host's /usr. It returns the program's path on the host.
func programInMount(t *testing.T) (vm.Spec, string) {
	t.Helper()
	spec, usr := guestSpec(t), t.TempDir()
	program := filepath.Join(usr, "bin", "program")
	if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	install(t, program)
	spec.Mounts = []vm.Mount{{Source: usr, Target: "/mnt", Overlay: true}}
	spec.Rootfs = t.TempDir()
	for _, sub := range []string{"proc", "sys", "dev", "tmp", "mnt"} {
		if err := os.Mkdir(filepath.Join(spec.Rootfs, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/mnt/bin/program", filepath.Join(spec.Rootfs, "init")); err != nil {
		t.Fatal(err)
	}
	return spec, program
}

// install replaces a program as a package manager does: by a rename.
func install(t *testing.T, program string) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program+".new", self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(program+".new", program); err != nil {
		t.Fatal(err)
	}
}

func runGuest(t *testing.T, d *Driver, id string, spec vm.Spec) {
	t.Helper()
	start(t, d, id, spec)
	answers(t, d, id)
}

func answers(t *testing.T, d *Driver, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if pong, err := (client{d}).do(ctx, id, "GET", "/ping", ""); err != nil || pong != "pong" {
		t.Fatalf("%s answers %q, %v", id, pong, err)
	}
}

func refused(t *testing.T, err error) {
	t.Helper()
	var changed *vm.HostChangedError
	if !errors.Is(err, vm.ErrIncompatible) || !errors.As(err, &changed) || changed.File != "/mnt/bin/program" {
		t.Errorf("got %v, want a refusal that names the file", err)
	}
}

// A snapshot fits the files of the host that its programs had open, and no
// others: what was installed since must not be mixed with what is in memory.
func TestASnapshotIsWhatWasSavedOverTheSameHostFiles(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, program string){
		"replaced": install,
		"touched":  func(t *testing.T, program string) { chtimes(t, program, time.Now()) },
		"cut short": func(t *testing.T, program string) {
			was := modified(t, program)
			if err := os.Truncate(program, 1<<20); err != nil {
				t.Fatal(err)
			}
			chtimes(t, program, was)
		},
		"gone": func(t *testing.T, program string) {
			if err := os.Remove(program); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, ctx := newDriver(t), context.Background()
			spec, program := programInMount(t)
			runGuest(t, d, "a", spec)
			if err := d.Snapshot(ctx, "a", "s"); err != nil {
				t.Fatal(err)
			}
			kept, was := program+".kept", modified(t, program)
			if err := os.Link(program, kept); err != nil {
				t.Fatal(err)
			}
			if name != "replaced" && name != "gone" {
				// The change is made to a copy in its place: the other runs.
				install(t, program)
				chtimes(t, program, was)
			}
			change(t, program)

			again, fresh := spec, guestSpec(t)
			again.NetNS, again.GuestIP = fresh.NetNS, fresh.GuestIP
			again.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "s", ResumeImmediately: true}
			if err := d.Destroy(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			refused(t, d.Create(ctx, "b", again))
			if name == "replaced" {
				filesOver(t, d, again)
			}

			if err := os.Rename(kept, program); err != nil {
				t.Fatal(err)
			}
			// Other files are ignored, and so is the same version again.
			if err := os.WriteFile(filepath.Join(filepath.Dir(program), "other"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
			install(t, program)
			chtimes(t, program, was)
			fresh = guestSpec(t)
			again.NetNS, again.GuestIP = fresh.NetNS, fresh.GuestIP
			if err := d.Create(ctx, "c", again); err != nil {
				t.Fatal(err)
			}
			defer d.Destroy(ctx, "c")
			answers(t, d, "c")
		})
	}
}

// filesOver saves the files of a snapshot whose programs cannot go on, and boots
// from them.
func filesOver(t *testing.T, d *Driver, spec vm.Spec) {
	t.Helper()
	ctx, ref := context.Background(), *spec.RestoreFrom
	ref.AnyHostFiles = true
	spec.RestoreFrom = &ref
	if err := errors.Join(d.Create(ctx, "files", spec), d.Stop(ctx, "files"), d.SnapshotFilesystem(ctx, "files", "s"), d.Destroy(ctx, "files")); err != nil {
		t.Fatal(err)
	}
	fresh := guestSpec(t)
	spec.NetNS, spec.GuestIP = fresh.NetNS, fresh.GuestIP
	spec.RestoreFrom = &vm.SnapshotRef{VMID: "files", SnapshotID: "s", ResumeImmediately: true}
	if err := d.Create(ctx, "booted", spec); err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(ctx, "booted")
	answers(t, d, "booted")
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func chtimes(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// A prepared machine reads its snapshot at its start.
func TestAPreparedMachineStartsOverTheSameHostFilesOnly(t *testing.T) {
	d, ctx := newDriver(t), context.Background()
	spec, program := programInMount(t)
	runGuest(t, d, "a", spec)
	if err := d.Snapshot(ctx, "a", "s"); err != nil {
		t.Fatal(err)
	}
	spec.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "s"}
	if err := d.Create(ctx, "b", spec); err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(ctx, "b")
	if err := d.Snapshot(ctx, "b", "copy"); err != nil {
		t.Fatal(err)
	}
	install(t, program)
	refused(t, d.Start(ctx, "b"))
	spec.RestoreFrom = &vm.SnapshotRef{VMID: "b", SnapshotID: "copy", ResumeImmediately: true}
	refused(t, d.Create(ctx, "c", spec))
}

// What could not be restored is not saved, and goes on.
func TestAMachineWithAReplacedFileIsNotSavedAndGoesOn(t *testing.T) {
	d, ctx := newDriver(t), context.Background()
	spec, program := programInMount(t)
	runGuest(t, d, "a", spec)
	install(t, program)
	refused(t, d.Snapshot(ctx, "a", "running"))
	answers(t, d, "a")
	if err := d.Stop(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	refused(t, d.Snapshot(ctx, "a", "frozen"))
	if err := d.SnapshotFilesystem(ctx, "a", "files"); err != nil {
		t.Errorf("without its memory: %v", err)
	}
	if err := d.Start(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	answers(t, d, "a")
	if names, _, err := d.ListSnapshots(ctx, "a"); err != nil || len(names) != 1 {
		t.Errorf("snapshots %q, %v", names, err)
	}
}

// TestTheDriversOwnFilesAreNotTheGuests has its state directory where the root user
// has it by default: below a directory that is named as gVisor's file server
// names the root of a machine.
func TestTheDriversOwnFilesAreNotTheGuests(t *testing.T) {
	needRoot(t)
	if err := os.MkdirAll(snapshots.GoferRoot, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(snapshots.GoferRoot, "gv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "linked"), 0o700), os.Symlink(filepath.Join(dir, "linked"), link)); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{filepath.Join(dir, "state"), link} {
		d := newDriver(t, func(c *Config) { c.StateDir = state })
		start(t, d, "a", guestSpec(t))
		if err := d.Snapshot(testContext(t), "a", "s"); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		stillAlive(t, d, "a")
	}
}

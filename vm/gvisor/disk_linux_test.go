package gvisor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// content is what the guest writes into a big file: the same bytes each time,
// no two pages alike.
func content(mib int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), mib<<20)
}

func sum(h hash.Hash) string { return fmt.Sprintf("%x", h.Sum(nil)) }

// bigFile runs in the guest: it writes content to a file, or returns the digest
// of the file.
func bigFile(what, path, mib string) string {
	n, err := strconv.ParseInt(mib, 10, 64)
	if err != nil {
		return err.Error()
	}
	flags := os.O_RDONLY
	if what == "write" {
		flags = os.O_RDWR | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	if what == "write" {
		if _, err := io.CopyBuffer(struct{ io.Writer }{f}, content(n), block); err != nil {
			return err.Error()
		}
		return "ok"
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, block); err != nil {
		return err.Error()
	}
	return sum(h)
}

func wantSum(t *testing.T, mib int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, content(mib)); err != nil {
		t.Fatal(err)
	}
	return sum(h)
}

func TestDiskIsNotMemory(t *testing.T) {
	d := newDriver(t)
	spec := guestSpec(t)
	private := t.TempDir()
	spec.MemoryMiB, spec.DiskMiB = 256, 1024
	spec.Mounts = []vm.Mount{{Source: private, Target: "/mnt/private", Overlay: true}}
	start(t, d, "a", spec)
	for path, mib := range map[string]int64{"/tmp/big": 600, "/mnt/private/big": 400} {
		if got := run(t, d, "a", "", "/init", "write", path, fmt.Sprint(mib)); got != "ok" {
			t.Fatalf("write %s: %s", path, got)
		}
		if got := run(t, d, "a", "", "/init", "sum", path, "0"); got != wantSum(t, mib) {
			t.Errorf("%s is not what was written", path)
		}
	}
}

// TestTheDiskIsOneSizeForAllLayers writes to the root and to mounts, one of them
// in another, of a new machine, a restored one, and one that is booted from saved
// files: together they hold what one of them would.
func TestTheDiskIsOneSizeForAllLayers(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := guestSpec(t)
	spec.DiskMiB = 20
	outer, inner := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(outer, "in"), 0o755), os.WriteFile(filepath.Join(outer, "in", "hidden"), nil, 0o644),
		os.WriteFile(filepath.Join(inner, "shown"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = []vm.Mount{{Source: inner, Target: "/mnt/in", Overlay: true}, {Source: outer, Target: "/mnt", Overlay: true}}
	start(t, d, "a", spec)
	places := []string{"/", "/mnt/", "/mnt/in/"}
	for _, dir := range places {
		if got := run(t, d, "a", "", "/init", "write", dir+"some", "4"); got != "ok" {
			t.Fatalf("4 MiB in %s: %s", dir, got)
		}
	}
	if err := errors.Join(d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}
	create(t, d, "b", cold(t, spec, "a", "memory"))
	create(t, d, "c", cold(t, spec, "a", "files"))
	for _, id := range []string{"a", "b", "c"} {
		if got := run(t, d, id, "", "/init", "sum", "/mnt/in/some", "0"); got != wantSum(t, 4) {
			t.Errorf("%s: what was written is not there: %s", id, got)
		}
		if got := run(t, d, id, "", "/init", "list", "/mnt/in"); !strings.Contains(got, "shown") || strings.Contains(got, "hidden") {
			t.Errorf("%s: the mount in the mount has %q", id, got)
		}
		// 12 of 20 MiB are in use.
		for i, dir := range places {
			got := run(t, d, id, "", "/init", "write", dir+"more", "6")
			if full := strings.Contains(got, "no space left"); full != (i > 0) {
				t.Errorf("%s: 6 MiB more in %s: %q", id, dir, got)
			}
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", mustFind(t, d, id).gofer.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{"/mnt", "/mnt/in"} {
			if !strings.Contains(string(mounts), " "+target+" ro,nosuid,nodev") {
				t.Errorf("%s: %s is not mounted for reading only:\n%s", id, target, mounts)
			}
		}
	}
	for _, dir := range []string{outer, inner, spec.Rootfs} {
		if there(filepath.Join(dir, "some")) || there(filepath.Join(dir, "more")) {
			t.Errorf("a guest wrote to %s", dir)
		}
	}
}

// TestDiskIsInTheSnapshot restores by a driver of another instance: its layers
// are in another directory.
func TestDiskIsInTheSnapshot(t *testing.T) {
	onBothRoots(t, diskIsInTheSnapshot)
}

func diskIsInTheSnapshot(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := newSpec(t)
	spec.DiskMiB = 100
	start(t, d, "a", spec)
	for _, path := range []string{"/tmp/big", "/big"} {
		if got := run(t, d, "a", "", "/init", "write", path, "40"); got != "ok" {
			t.Fatal(got)
		}
	}
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	other := newDriver(t, func(c *Config) { c.StateDir = d.conf.StateDir })
	s := guestSpec(t)
	s = vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}
	start(t, other, "b", s)
	want := wantSum(t, 40)
	for _, path := range []string{"/tmp/big", "/big"} {
		if got := run(t, other, "b", "", "/init", "sum", path, "0"); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := run(t, other, "b", "", "/init", "write", "/more", "32"); !strings.Contains(got, "no space left") {
		t.Errorf("32 MiB into the 20 MiB that are left: %q", got)
	}
}

func TestDiskEndsWithTheMachine(t *testing.T) {
	onBothRoots(t, diskEndsWithTheMachine)
}

func diskEndsWithTheMachine(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	start(t, d, "a", newSpec(t))
	if got := run(t, d, "a", "", "/init", "write", "/big", "8"); got != "ok" {
		t.Fatal(got)
	}
	if open := layerFiles(t, "self"); len(open) > 0 {
		t.Errorf("this process has %q open", open)
	}
	m := mustFind(t, d, "a")
	if open := layerFiles(t, fmt.Sprint(m.sandbox.PID)); len(open) == 0 {
		t.Error("the sandbox has no file for its disk")
	}
	if err := d.Destroy(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// layerFiles lists the files of writable layers that a process has open.
func layerFiles(t *testing.T, pid string) (open []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, _ := os.Readlink(link); strings.Contains(target, "runsc-filestore") {
			open = append(open, target)
		}
	}
	return open
}

func TestAdoptClearsItsPendingFilesOnly(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	other := newDriver(t, func(c *Config) { c.StateDir = d.conf.StateDir })
	c := client{d}
	start(t, d, "a", guestSpec(t))
	if err := errors.Join(c.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "one")); err != nil {
		t.Fatal(err)
	}
	s := guestSpec(t)
	waiting := vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}
	if err := d.Create(ctx, "b", waiting); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), "b"); err != nil {
			t.Error(err)
		}
	})
	layer := filepath.Join(other.dirs.Pending(), "runsc-filestore-1")
	earlier := filepath.Join(d.dirs.AllPending(), "another-boot", "default", "snapshot-1")
	if err := errors.Join(os.WriteFile(layer, nil, 0o600), os.MkdirAll(earlier, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Adopt(ctx); err != nil {
		t.Fatal(err)
	}
	if there(layer) || there(filepath.Dir(filepath.Dir(earlier))) {
		t.Error("what a dead process left is still there")
	}
	if err := d.Start(ctx, "b"); err != nil {
		t.Fatalf("what a machine of another instance waits to load is gone: %v", err)
	}
	if got, err := c.Read(ctx, "b", "k"); got != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDiskOfAKilledMachine(t *testing.T) {
	onBothRoots(t, diskOfAKilledMachine)
}

func diskOfAKilledMachine(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	if err := errors.Join(d.Create(ctx, "a", newSpec(t)), d.Start(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	if got := run(t, d, "a", "", "/init", "write", "/big", "8"); got != "ok" {
		t.Fatal(got)
	}
	sandbox := mustFind(t, d, "a").sandbox
	ended, err := process.Open(sandbox.PID, sandbox.Start)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close(), ended.Kill()); err != nil {
		t.Fatal(err)
	}
	again := open(t, d.conf)
	if _, lost, err := again.Adopt(ctx); err != nil || len(lost) != 1 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if after := leftovers(again); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// TestWhatEarlierVersionsSavedKeepsItsLayers: their layers cannot be joined.
func TestWhatEarlierVersionsSavedKeepsItsLayers(t *testing.T) {
	private, shown := vm.Mount{Source: "/a", Target: "/a", Overlay: true}, vm.Mount{Source: "/b", Target: "/b"}
	for name, c := range map[string]struct {
		readOnly bool
		from     *snapshots.Manifest
		one      bool
	}{
		"new":                       {one: true},
		"new with a read-only root": {readOnly: true},
		"of an earlier version":     {from: &snapshots.Manifest{Format: 2}},
		"of this version":           {from: &snapshots.Manifest{Format: 3, OneLayer: true}, one: true},
	} {
		spec := vm.Spec{Mounts: []vm.Mount{private, shown}, RootfsReadOnly: c.readOnly}
		in, own := oci.Below(spec, oneLayer(spec, c.from))
		wantIn, wantOwn := []vm.Mount(nil), spec.Mounts
		if c.one {
			wantIn, wantOwn = spec.Mounts[:1], spec.Mounts[1:]
		}
		if !slices.Equal(in, wantIn) || !slices.Equal(own, wantOwn) {
			t.Errorf("%s: %v are in the root's layer and %v have their own, want %v and %v", name, in, own, wantIn, wantOwn)
		}
	}
}

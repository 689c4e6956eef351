package gvisor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// A state directory comes to another disk, or back from an archive that keeps
// whole seconds: what was saved in it is restored there, and over other contents
// it is not.
func TestASnapshotIsWhatWasSavedOverACopyOfItsRoot(t *testing.T) {
	d, ctx := newDriver(t), context.Background()
	spec := guestSpec(t)
	root := filepath.Join(t.TempDir(), "root")
	copyTree(t, spec.Rootfs, root)
	note := filepath.Join(root, "note")
	if err := os.WriteFile(note, []byte("as it was"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec.Rootfs = root
	runGuest(t, d, "a", spec)
	if err := errors.Join(d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files"), d.Destroy(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	copyTree(t, root, root+".copy")
	if err := errors.Join(os.RemoveAll(root), os.Rename(root+".copy", root)); err != nil {
		t.Fatal(err)
	}
	chtimes(t, filepath.Join(root, "init"), modified(t, filepath.Join(root, "init")).Truncate(time.Second))
	for _, name := range []string{"memory", "files"} {
		if err := restored(t, d, "b-"+name, spec, name); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		answers(t, d, "b-"+name)
		// It is saved again, over the root that there is now.
		if err := errors.Join(d.Snapshot(ctx, "b-"+name, "again"), d.Destroy(ctx, "b-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Rename(root, root+".kept"), os.Mkdir(root, 0o755)); err != nil {
		t.Fatal(err)
	}
	copyTree(t, root+".kept", root)
	if err := os.WriteFile(note, []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory", "files"} {
		if err := restored(t, d, "c", spec, name); !errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("%s, over another root: %v", name, err)
		}
	}
}

// restored makes a machine from a snapshot of "a".
func restored(t *testing.T, d *Driver, id string, spec vm.Spec, snapshot string) error {
	t.Helper()
	fresh := guestSpec(t)
	spec.NetNS, spec.GuestIP = fresh.NetNS, fresh.GuestIP
	spec.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: snapshot, ResumeImmediately: true}
	return d.Create(context.Background(), id, spec)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-aT", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

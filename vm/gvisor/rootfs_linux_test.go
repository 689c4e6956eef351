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

func TestADigestIsOfAllThatIsInADirectory(t *testing.T) {
	root := t.TempDir()
	file, link := filepath.Join(root, "d", "file"), filepath.Join(root, "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("a"), 0o644), os.Symlink("d", link)); err != nil {
		t.Fatal(err)
	}
	digest := func() string {
		t.Helper()
		sum, err := treeDigest(root)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	was := digest()
	chtimes(t, file, time.Unix(1, 0))
	if digest() != was {
		t.Error("times are in it")
	}
	for _, change := range []struct {
		what string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(file, []byte("b"), 0o644) }},
		{"mode", func() error { return os.Chmod(file, 0o755) }},
		{"owner", func() error { return os.Chown(file, 7, 0) }},
		{"link", func() error { return errors.Join(os.Remove(link), os.Symlink("e", link)) }},
		{"name", func() error { return os.Rename(file, file+"s") }},
		{"a new directory", func() error { return os.Mkdir(filepath.Join(root, "new"), 0o755) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		now := digest()
		if now == was {
			t.Errorf("%s is not in it", change.what)
		}
		was = now
	}
	// Snapshots of earlier versions have the digest of a sudo that was set-uid.
	sudo := filepath.Join(root, formerSetUID)
	if err := errors.Join(os.MkdirAll(filepath.Dir(sudo), 0o755), os.WriteFile(sudo, nil, 0o755), os.Chmod(sudo, 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	was = digest()
	if err := os.Chmod(sudo, 0o755); err != nil {
		t.Fatal(err)
	}
	if digest() != was {
		t.Error("the digest is another one without the bit of sudo")
	}
}

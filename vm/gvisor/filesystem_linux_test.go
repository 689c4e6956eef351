package gvisor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// changeFiles runs in the guest: it changes a tree in all the ways that a
// snapshot must keep.
func changeFiles(root string) error {
	at := func(name string) string { return filepath.Join(root, name) }
	listener, err := net.Listen("unix", at("socket")) // Is not kept.
	if err != nil {
		return err
	}
	_ = listener
	return errors.Join(
		os.MkdirAll(at("made/deep"), 0o750),
		os.WriteFile(at("made/deep/file"), []byte("content"), 0o640),
		os.WriteFile(at("made/empty"), nil, 0o600),
		os.WriteFile(at("made/with space ü \xff"), []byte("x"), 0o600),
		os.WriteFile(at("made/"+strings.Repeat("n", 250)), []byte("x"), 0o600),
		os.Lchown(at("made/deep/file"), 1000, 1001),
		os.Lchown(at("made"), 1000, 1000),
		os.Symlink("deep/file", at("made/symlink")),
		os.Symlink(strings.Repeat("t/", 200), at("made/long-symlink")),
		os.Lchown(at("made/symlink"), 1000, 1000),
		os.Link(at("made/deep/file"), at("made/hard-link")),
		syscall.Mkfifo(at("made/fifo"), 0o622),
		os.WriteFile(at("made/raise"), []byte("x"), 0o755), os.Chmod(at("made/raise"), 0o755|os.ModeSetuid),
		os.Mkdir(at("made/sticky"), 0o777), os.Chmod(at("made/sticky"), 0o777|os.ModeSticky),
		unix.Setxattr(at("made/deep/file"), "user.colour", []byte("grün"), 0),
		os.Truncate(at("made/empty"), 1<<20), // Sparse.
		os.Chtimes(at("made/raise"), time.Unix(1e9, 0), time.Unix(1e9, 0)),
		// What the base has is deleted, replaced, changed and hidden.
		os.Remove(at("base/deleted")),
		os.Remove(at("base/replaced")), os.Mkdir(at("base/replaced"), 0o700),
		os.WriteFile(at("base/changed"), []byte("changed"), 0o644), os.Chmod(at("base/changed"), 0o604),
		os.RemoveAll(at("base/dir")), os.Mkdir(at("base/dir"), 0o711), os.WriteFile(at("base/dir/new"), []byte("new"), 0o600),
		os.Rename(at("base/moved"), at("made/moved")),
	)
}

// listFiles runs in the guest: one line for each thing below root.
func listFiles(root string) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return nil
		}
		line := fmt.Sprintf("%q %o %d:%d", path, st.Mode, st.Uid, st.Gid)
		if entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			value := make([]byte, 100)
			n, _ := unix.Getxattr(path, "user.colour", value)
			// Times are kept to the second, whichever of the two it is.
			at := time.Unix(st.Mtim.Sec, st.Mtim.Nsec).Round(time.Second).Unix()
			line += fmt.Sprintf(" %d %x %d links %q %d", st.Size, sha256.Sum256(content), st.Nlink, value[:max(0, n)], at)
		}
		if target, err := os.Readlink(path); err == nil {
			line += " -> " + target
		}
		fmt.Println(line)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
}

// baseTree makes what changeFiles expects.
func baseTree(t *testing.T, root string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "base", "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deleted", "replaced", "changed", "dir/hidden", "moved"} {
		if err := os.WriteFile(filepath.Join(root, "base", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// treeSpec is a machine with such a tree in its root and in an overlaid mount.
func treeSpec(t *testing.T) vm.Spec {
	t.Helper()
	spec := guestSpec(t)
	spec.Rootfs = t.TempDir()
	mounted := t.TempDir()
	if err := os.CopyFS(spec.Rootfs, os.DirFS(makeRootfs(t))); err != nil {
		t.Fatal(err)
	}
	baseTree(t, spec.Rootfs)
	baseTree(t, mounted)
	if err := os.MkdirAll(filepath.Join(spec.Rootfs, "usr"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = []vm.Mount{{Source: mounted, Target: "/usr", Overlay: true}}
	return spec
}

// cold is the same machine in another network, with the files of a snapshot.
func cold(t *testing.T, spec vm.Spec, id, snapshot string) vm.Spec {
	spec.NetNS, spec.GuestIP = guestNet(t)
	spec.RestoreFrom = &vm.SnapshotRef{VMID: id, SnapshotID: snapshot, ResumeImmediately: true}
	return spec
}

func create(t *testing.T, d *Driver, id string, spec vm.Spec) {
	t.Helper()
	if err := d.Create(testContext(t), id, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), id); err != nil && !errors.Is(err, vm.ErrInvalidTransition) {
			t.Error(err)
		}
	})
}

func TestFilesystemSnapshotKeepsWhatFilesAre(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := treeSpec(t)
	start(t, d, "a", spec)
	trees := []string{"/made", "/base", "/usr", "/tmp", "/etc"}
	list := func(id string) (lines []string) {
		for _, tree := range trees {
			lines = append(lines, strings.Split(run(t, d, id, "", "/init", "list", tree), "\n")...)
		}
		return lines
	}
	for _, root := range []string{"/", "/usr"} {
		if out := run(t, d, "a", "", "/init", "change", root); out != "<nil>" {
			t.Fatal(out)
		}
	}
	if out := run(t, d, "a", "", "/init", "write", "/tmp/big", "40"); out != "ok" {
		t.Fatal(out)
	}
	want := list("a")
	if n := len(want); n < 41 || !slices.ContainsFunc(want, func(l string) bool { return strings.Contains(l, "2 links \"grün\"") }) {
		t.Fatalf("%d files: %s", n, strings.Join(want, "\n"))
	}
	// Generations of both kinds keep it too.
	if err := d.SnapshotFilesystem(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	create(t, d, "b", cold(t, spec, "a", "one"))
	if err := d.SnapshotFilesystem(ctx, "b", "two"); err != nil {
		t.Fatal(err)
	}
	create(t, d, "c", cold(t, spec, "b", "two"))
	for _, id := range []string{"b", "c"} {
		got := list(id)
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Errorf("%s, line %d:\n%s\nwant\n%s", id, i, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""),
					strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
			}
		}
	}
	if one, two := imageBytes(t, d, "a", "one"), imageBytes(t, d, "b", "two"); two > one+one/50 {
		t.Errorf("the snapshot grew from %d to %d bytes", one, two)
	}
}

// imageBytes is the size of the images of a snapshot.
func imageBytes(t *testing.T, d *Driver, id, snapshot string) (bytes int64) {
	t.Helper()
	info, err := d.InspectSnapshot(testContext(t), id, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range info.Files {
		if snapshots.IsImage(f.Name) {
			bytes += f.Bytes
		}
	}
	return bytes
}

func TestFilesystemSnapshotBootsWithItsOwnSpec(t *testing.T) {
	onBothRoots(t, filesystemSnapshotBootsWithItsOwnSpec)
}

func filesystemSnapshotBootsWithItsOwnSpec(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := newSpec(t)
	spec.DiskMiB, spec.Hostname = 100, "old"
	start(t, d, "a", spec)
	if out := run(t, d, "a", "", "/init", "write", "/big", "40"); out != "ok" {
		t.Fatal(out)
	}
	if err := d.SnapshotFilesystem(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	before := leftovers(d)
	small := cold(t, spec, "a", "one")
	small.DiskMiB = 20
	if err := d.Create(ctx, "b", small); err == nil {
		t.Error("40 MiB of files fit into 20 MiB")
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
	large := cold(t, spec, "a", "one")
	large.DiskMiB, large.Hostname, large.Args, large.Env = 60, "new", []string{"/init"}, []string{"MARK=1"}
	create(t, d, "b", large)
	if got := run(t, d, "b", "", "/init", "sum", "/big", "0"); got != wantSum(t, 40) {
		t.Errorf("/big is %s", got)
	}
	if got := run(t, d, "b", "", "/init", "hostname"); got != "new <nil>" {
		t.Errorf("host name %q", got)
	}
	if got := run(t, d, "b", "", "/init", "env", "MARK"); got != "1" {
		t.Errorf("environment %q", got)
	}
	if got := run(t, d, "b", "", "/init", "write", "/more", "32"); !strings.Contains(got, "no space left") {
		t.Errorf("32 MiB into the 20 MiB that are left: %q", got)
	}
}

func TestFilesystemSnapshotOfAReadOnlyRootIsEmpty(t *testing.T) {
	onBothRoots(t, filesystemSnapshotOfAReadOnlyRootIsEmpty)
}

func filesystemSnapshotOfAReadOnlyRootIsEmpty(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	spec := newSpec(t)
	spec.RootfsReadOnly = true
	start(t, d, "a", spec)
	if err := d.SnapshotFilesystem(testContext(t), "a", "one"); err != nil {
		t.Fatal(err)
	}
	if n := imageBytes(t, d, "a", "one"); n != 0 {
		t.Errorf("%d bytes", n)
	}
	create(t, d, "b", cold(t, spec, "a", "one"))
	if got := run(t, d, "b", "", "/init", "uid"); got != "0 0" {
		t.Errorf("%q", got)
	}
	writable := cold(t, spec, "a", "one")
	writable.RootfsReadOnly = false
	if err := d.Create(testContext(t), "c", writable); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("a writable root: %v", err)
	}
}

func TestDeletedFilesDoNotPileUpInFilesystemSnapshots(t *testing.T) {
	onBothRoots(t, deletedFilesDoNotPileUpInFilesystemSnapshots)
}

func deletedFilesDoNotPileUpInFilesystemSnapshots(t *testing.T, newSpec func(testing.TB) vm.Spec) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := newSpec(t)
	spec.DiskMiB = 20
	start(t, d, "m0", spec)
	for i := range 10 {
		id := fmt.Sprint("m", i)
		if out, err := (client{d}).do(ctx, id, "POST", "/hold/15", ""); err != nil || out != "<nil>" {
			t.Fatal(out, err)
		}
		before := leftovers(d)
		if err := d.SnapshotFilesystem(ctx, id, "s"); err != nil {
			if !errors.Is(err, vm.ErrUnavailable) || i < 2 {
				t.Errorf("generation %d: %v", i, err)
			}
			if after := leftovers(d); !slices.Equal(before, after) {
				t.Errorf("before %q\nafter %q", before, after)
			}
			if err := d.Snapshot(ctx, id, "s"); err != nil {
				t.Error(err)
			}
			return
		}
		create(t, d, fmt.Sprint("m", i+1), cold(t, spec, id, "s"))
	}
	t.Errorf("the snapshot grew to %d bytes", imageBytes(t, d, "m9", "s"))
}

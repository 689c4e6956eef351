package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

func TestAnImageNeedsNoFileServer(t *testing.T) {
	d := newDriver(t)
	start(t, d, "a", imageSpec(t))
	if m := mustFind(t, d, "a"); m.gofer != nil {
		t.Errorf("process %d serves files", m.gofer.PID)
	}
	if pids, err := d.Processes("a"); err != nil || len(pids) != 1 {
		t.Errorf("processes %v, %v: a machine with an image has a kernel only", pids, err)
	}
	if got := run(t, d, "a", "", "/init", "uid"); got != "0 0" {
		t.Errorf("a program answers %q", got)
	}
}

// TestAGuestSeesTheSameTreeInAnImage compares what a guest sees of a directory and of its image.
func TestAGuestSeesTheSameTreeInAnImage(t *testing.T) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(makeRootfs(t))); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, "tree", name) }
	err := errors.Join(os.Chmod(root, 0o755), os.MkdirAll(at("dir/empty"), 0o751), os.WriteFile(at("file"), []byte("content"), 0o640),
		os.Link(at("file"), at("dir/link")), os.Symlink("dir/link", at("symlink")), os.Symlink("gone\xff", at("odd\xffname")),
		os.Lchown(at("symlink"), 70000, 70001), os.Chown(at("file"), 1<<30, 5), os.Chmod(at("dir"), 0o1777), unix.Mkfifo(at("fifo"), 0o604),
		os.WriteFile(at("setuid"), make([]byte, 5000), 0o755), os.Chmod(at("setuid"), 0o755|os.ModeSetuid|os.ModeSetgid),
		os.WriteFile(at("large"), make([]byte, 3<<20), 0o600), os.Mkdir(at("many"), 0o700))
	for i := range 600 {
		err = errors.Join(err, os.WriteFile(at("many/"+strings.Repeat("n", 1+i%250)+strings.Repeat("m", i/250)), []byte{byte(i)}, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	d := newDriver(t)
	tree := map[string]string{}
	for id, rootfs := range map[string]string{"directory": root, "image": makeImage(t, root)} {
		spec := guestSpec(t)
		spec.Rootfs = rootfs
		start(t, d, id, spec)
		tree[id] = run(t, d, id, "", "/init", "tree", "/tree")
		// Another maker of images would put it beside its inode, where gVisor cannot map it.
		if got := run(t, d, id, "", "/init", "mapped", "/tree/file"); got != "content" {
			t.Errorf("%s: a small file that is mapped has %q", id, got)
		}
	}
	want, got := strings.Split(tree["directory"], "\n"), strings.Split(tree["image"], "\n")
	if len(want) < 600 {
		t.Fatalf("the guest sees %d files: %.500s", len(want), tree["directory"])
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("file %d of %d and %d\n%s\n%s", i, len(want), len(got), want[min(i, len(want)-1)], got[min(i, len(got)-1)])
		}
	}
}

func TestTheDiskOfAnImageIsLimited(t *testing.T) {
	d := newDriver(t)
	spec := imageSpec(t)
	spec.DiskMiB = 20
	start(t, d, "a", spec)
	start(t, d, "b", imageSpec(t))
	full := func(id string) {
		t.Helper()
		if got := run(t, d, id, "", "/init", "df", "/"); got != "20" {
			t.Errorf("df says %s MiB, want 20", got)
		}
		if got := run(t, d, id, "", "/init", "fill", "/big"); !strings.Contains(got, "no space left") {
			t.Errorf("32 MiB into 20 MiB: %q", got)
		}
	}
	full("a")
	ctx := testContext(t)
	if err := errors.Join(d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory", "files"} {
		if err := restored(t, d, name, spec, name); err != nil {
			t.Fatal(err)
		}
		full(name)
		if err := d.Destroy(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if got := run(t, d, "b", "", "/init", "fill", "/big"); strings.Contains(got, "no space left") {
		t.Errorf("32 MiB without a limit: %q", got)
	}
	if entries, err := os.ReadDir(d.dirs.Pending()); err != nil || len(entries) != 0 {
		t.Errorf("the layers have the names %v, %v", entries, err)
	}
}

// TestImagesAreMounted has the one image that a machine needs beside its root, in both kinds of root.
func TestImagesAreMounted(t *testing.T) {
	agent := t.TempDir()
	if err := os.WriteFile(filepath.Join(agent, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mount := []vm.Mount{{Source: makeImage(t, agent), Target: vmtest.MountPoints()[0]}}
	d := newDriver(t)
	for name, spec := range map[string]vm.Spec{"directory": guestSpec(t), "image": imageSpec(t)} {
		t.Run(name, func(t *testing.T) {
			ctx := testContext(t)
			spec.Mounts = mount
			start(t, d, name, spec)
			if got := run(t, d, name, "", "/init", "touch", mount[0].Target+"/new"); !strings.Contains(got, "read-only") {
				t.Errorf("the image is written to: %q", got)
			}
			if err := d.Snapshot(ctx, name, "one"); err != nil {
				t.Fatal(err)
			}
			fresh := guestSpec(t)
			restore := vm.Spec{NetNS: fresh.NetNS, GuestIP: fresh.GuestIP,
				RestoreFrom: &vm.SnapshotRef{VMID: name, SnapshotID: "one", ResumeImmediately: true}}
			create(t, d, name+"-again", restore)
			if got := run(t, d, name+"-again", "", "/init", "mode", mount[0].Target+"/x"); !strings.HasPrefix(got, "-rw-r--r--") {
				t.Errorf("the file is %q", got)
			}
			fresh = guestSpec(t)
			restore.NetNS, restore.GuestIP = fresh.NetNS, fresh.GuestIP
			restore.Mounts = []vm.Mount{{Source: makeImage(t, t.TempDir()), Target: mount[0].Target}}
			if err := d.Create(ctx, name+"-other", restore); !errors.Is(err, vm.ErrIncompatible) {
				t.Errorf("over another image: %v", err)
			}
		})
	}
}

// TestImagesInTheHomeOfRoot has images where gVisor's file server has the files of guests, in
// its own mount namespace, and where the default directories are: they are not files of the guest.
func TestImagesInTheHomeOfRoot(t *testing.T) {
	d := newDriver(t)
	mount, root := imageSpec(t), imageSpec(t)
	small := makeImage(t, t.TempDir())
	if err := unix.Mount("tmpfs", "/root", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount("/root", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	copyTree(t, root.Rootfs, "/root/root-image")
	copyTree(t, small, "/root/small-image")
	root.Rootfs, mount.Rootfs = "/root/root-image", makeRootfs(t)
	mount.Mounts = []vm.Mount{{Source: "/root/small-image", Target: vmtest.MountPoints()[0]}}
	for id, spec := range map[string]vm.Spec{"root": root, "mount": mount} {
		start(t, d, id, spec)
		if err := d.Snapshot(testContext(t), id, "one"); err != nil {
			t.Fatal(err)
		}
		fresh := guestSpec(t)
		create(t, d, id+"-again", vm.Spec{NetNS: fresh.NetNS, GuestIP: fresh.GuestIP,
			RestoreFrom: &vm.SnapshotRef{VMID: id, SnapshotID: "one", ResumeImmediately: true}})
		if got := run(t, d, id+"-again", "", "/init", "uid"); got != "0 0" {
			t.Errorf("%s answers %q", id, got)
		}
	}
}

// TestASnapshotNeedsItsImage replaces the file of the root in the three ways that there are.
func TestASnapshotNeedsItsImage(t *testing.T) {
	d := newDriver(t)
	spec := imageSpec(t)
	path := filepath.Join(t.TempDir(), "root")
	copyTree(t, spec.Rootfs, path)
	spec.Rootfs = path
	ctx := testContext(t)
	start(t, d, "a", spec)
	if err := errors.Join((client{d}).Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}
	n := 0
	again := func(when string, want error) {
		t.Helper()
		for _, snapshot := range []string{"memory", "files"} {
			n++
			id := fmt.Sprintf("b%d", n)
			err := restored(t, d, id, spec, snapshot)
			if !errors.Is(err, want) {
				t.Errorf("%s, when the image %s: %v, want %v", snapshot, when, err, want)
			}
			if err == nil {
				err = d.Destroy(ctx, id)
			}
			if err != nil && want == nil {
				t.Error(err)
			}
		}
	}
	again("is there", nil)
	kept, other := path+".kept", makeImage(t, t.TempDir())
	if err := os.Rename(path, kept); err != nil {
		t.Fatal(err)
	}
	for _, snapshot := range []string{"memory", "files"} {
		if err := restored(t, d, snapshot, spec, snapshot); err == nil {
			t.Errorf("%s was restored without its image", snapshot)
		}
	}
	copyTree(t, other, path)
	again("is another one", vm.ErrIncompatible)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	again("is a directory", vm.ErrIncompatible)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	copyTree(t, kept, path)
	again("is a copy", nil)
	// The file keeps its inode, but not what is in it.
	data, err := os.ReadFile(other)
	if err := errors.Join(err, d.Destroy(ctx, "a"), os.Rename(kept, path), os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	again("was written over", vm.ErrIncompatible)
	// A caller rebuilds what is incompatible, and gives up where its request is invalid.
	if err := os.Truncate(path, int64(len(data))/2); err != nil {
		t.Fatal(err)
	}
	again("was cut", vm.ErrIncompatible)
	if err := os.WriteFile(path, make([]byte, len(data)), 0o600); err != nil {
		t.Fatal(err)
	}
	again("has zeros", vm.ErrIncompatible)
}

// TestAMachineWithAnImageIsAdopted has a daemon that ends and another one, with a machine that
// runs, one that is stopped and one that waits to be loaded.
func TestAMachineWithAnImageIsAdopted(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	c := client{d}
	for _, id := range []string{"a", "b"} {
		if err := errors.Join(d.Create(ctx, id, imageSpec(t)), d.Start(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "one"), d.Stop(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	fresh := guestSpec(t)
	if err := d.Create(ctx, "c", vm.Spec{NetNS: fresh.NetNS, GuestIP: fresh.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, d.conf)
	if adopted, lost, err := vmtest.Adopted(ctx, again); err != nil || len(lost) > 0 || len(adopted) != 3 {
		t.Fatal(adopted, lost, err)
	}
	if err := errors.Join(again.Start(ctx, "b"), again.Start(ctx, "c")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if got := run(t, again, id, "", "/init", "uid"); got != "0 0" {
			t.Errorf("%s answers %q", id, got)
		}
	}
	if got, err := (client{again}).Read(ctx, "c", "k"); got != "v" || err != nil {
		t.Errorf("the restored one has %q, %v", got, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := again.Destroy(ctx, id); err != nil {
			t.Error(err)
		}
	}
	if err := again.DeleteSnapshot(ctx, "a", "one"); err != nil {
		t.Error(err)
	}
	if left := leftovers(again); len(leftMachines(left)) > 0 {
		t.Errorf("left is %q", left)
	}
}

// leftMachines are the leftovers that are of a machine, rather than directories of the driver.
func leftMachines(left []string) (of []string) {
	for _, what := range left {
		if !strings.HasPrefix(what, "file ") || strings.Contains(what, "/machines/") {
			of = append(of, what)
		}
	}
	return of
}

func TestAFileOfAnImageIsSetUIDInTheGuest(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.SetUID = []string{"/raise"} })
	root, onHost, _ := setUIDRootfs(t)
	if err := os.Chmod(onHost, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := guestSpec(t)
	spec.Rootfs = makeImage(t, root)
	start(t, d, "a", spec)
	if err := d.Snapshot(testContext(t), "a", "memory"); err != nil {
		t.Fatal(err)
	}
	if err := restored(t, d, "b", vm.Spec{}, "memory"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		if got := run(t, d, id, "?user=1", "/raise", "uid"); got != "1000 0" {
			t.Errorf("%s: the uids are %q, want 1000 0", id, got)
		}
	}
	if err := d.Destroy(testContext(t), "b"); err != nil {
		t.Error(err)
	}
}

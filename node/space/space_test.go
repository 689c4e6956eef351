//go:build linux

package space

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
)

const block = 4096

// node makes the directories of a node with a database.
func node(t *testing.T) (layout.Layout, *store.Store) {
	t.Helper()
	root := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(root, "state"), CacheDir: filepath.Join(root, "cache"), RunDir: filepath.Join(root, "run")}
	if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), dirs.Database())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return dirs, db
}

// write makes a file of n blocks that are on the disk.
func write(t *testing.T, path string, n int) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, n*block), 0o600)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// saved makes a snapshot of n blocks, with a claim of a kind unless that is empty.
func saved(t *testing.T, dirs layout.Layout, db *store.Store, id, kind, buildID string, n int) string {
	t.Helper()
	if kind != "" {
		row := store.Snapshot{ID: id, Instance: "i", Kind: kind, State: store.SnapshotReady, VMID: "vm" + id, Snapshot: id, BuildID: buildID, Spec: `{"rootfs":"/x/kept.erofs"}`, CreatedAt: time.Now()}
		if err := db.Snapshots.Put(t.Context(), &row); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, filepath.Join(dirs.DriverState("gvisor"), "snapshots", "vm"+id, id, "pages.img"), n)
}

// blocks are those of files, without those of directories.
func blocks(t *testing.T, dirs layout.Layout) map[string]Usage {
	t.Helper()
	report, err := Of(t.Context(), dirs)
	if err != nil {
		t.Fatal(err)
	}
	if report.DiskBytes <= 0 || report.FreeBytes <= 0 || report.FloorBytes <= 0 || report.FloorBytes > report.DiskBytes {
		t.Errorf("the disk is %+v", report)
	}
	all, sum := map[string]Usage{}, int64(0)
	for _, u := range report.Usage {
		all[u.Kind] = u
		sum += u.Bytes
	}
	if sum != report.Bytes || len(all) != len(kinds) {
		t.Errorf("the sum is %d, and %d is reported for %d kinds", sum, report.Bytes, len(all))
	}
	return all
}

func TestEachKindHasItsFiles(t *testing.T) {
	dirs, db := node(t)
	empty := blocks(t, dirs)
	template, build := builds.Template{ID: "t1", Name: "app"}, builds.Build{ID: "b1", State: sandbox.BuildBuilding, CreatedAt: time.Now()}
	if err := db.Builds.Begin(t.Context(), &template, &build, builds.Bounds{Waiting: 1, Templates: 1}); err != nil {
		t.Fatal(err)
	}
	saved(t, dirs, db, "p", claim.KindPause, "", 100)
	saved(t, dirs, db, "s", claim.KindSnapshot, "", 110)
	saved(t, dirs, db, "t", claim.KindTemplate, "b1", 120) // Its build goes on.
	saved(t, dirs, db, "a", claim.KindTemplate, "b0", 130) // No build has it.
	saved(t, dirs, db, "l", claim.KindLayer, "", 140)
	saved(t, dirs, db, "o", "", "", 150)
	write(t, filepath.Join(dirs.Base(), "b.erofs"), 160)
	write(t, filepath.Join(dirs.DriverState("gvisor"), "engines", "e"), 170)
	write(t, filepath.Join(dirs.DriverState("gvisor"), "pending", "boot", "i", "k", "pages.img"), 180)
	fresh, stale := write(t, filepath.Join(dirs.Uploads(), "t2", "h.d"), 190), write(t, filepath.Join(dirs.Uploads(), "t2", "upload-1"), 200)
	write(t, filepath.Join(dirs.CacheDir, "agent", "a"), 210)
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := errors.Join(os.Chtimes(stale, yesterday, yesterday)); err != nil {
		t.Fatal(err)
	}
	got := blocks(t, dirs)
	for kind, want := range map[string][3]int64{
		Paused: {1, 100, 0}, Snapshots: {1, 110, 0}, Templates: {2, 250, 130}, Layers: {1, 140, 140}, Orphans: {1, 150, 0}, Base: {1, 160, 0},
		Engines: {1, 170, 0}, Running: {1, 180, 0}, Uploads: {2, 390, 200}, Images: {0, 0, 0}, Other: {0, 210, 0},
	} {
		u, slack := got[kind], int64(40*block) // of directories
		if bytes := u.Bytes - empty[kind].Bytes; int64(u.Count) != want[0] || bytes < want[1]*block || bytes > want[1]*block+slack ||
			u.Reclaimable < want[2]*block || u.Reclaimable > want[2]*block+slack {
			t.Errorf("%s: %+v, want %v", kind, u, want)
		}
	}
	if err := os.Chtimes(fresh, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if u := blocks(t, dirs)[Uploads]; u.Reclaimable < 390*block {
		t.Errorf("an upload that no build needs: %+v", u)
	}
	if err := os.Rename(filepath.Join(dirs.Uploads(), "t2"), filepath.Join(dirs.Uploads(), "t1")); err != nil {
		t.Fatal(err)
	}
	if u := blocks(t, dirs)[Uploads]; u.Reclaimable != 0 {
		t.Errorf("uploads whose build goes on: %+v", u)
	}
}

// Files with several names count once, and are given back only with all of them. What a sandbox has open counts without a name.
func TestAFileCountsOnce(t *testing.T) {
	dirs, db := node(t)
	layer := saved(t, dirs, db, "l", claim.KindLayer, "", 100)
	before := blocks(t, dirs)
	if before[Layers].Reclaimable < 100*block {
		t.Errorf("%+v", before[Layers])
	}
	other := filepath.Join(filepath.Dir(saved(t, dirs, db, "p", claim.KindPause, "", 1)), "shared.img")
	if err := os.Link(layer, other); err != nil {
		t.Fatal(err)
	}
	after := blocks(t, dirs)
	if l, p := after[Layers], after[Paused]; l.Bytes > 20*block || l.Reclaimable > 20*block || p.Bytes < 101*block || p.Bytes > 121*block {
		t.Errorf("layers %+v, paused %+v", l, p)
	}
	f, err := os.OpenFile(write(t, filepath.Join(dirs.DriverState("gvisor"), "pending", "boot", "i", "layer"), 300), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Unlink(f.Name()); err != nil {
		t.Fatal(err)
	}
	if u := blocks(t, dirs)[Running]; u.Count != 1 || u.Bytes < 300*block || u.Bytes > 340*block || u.Reclaimable != 0 {
		t.Errorf("an open file without a name: %+v", u)
	}
}

func TestWithoutADatabaseNothingIsGivenBack(t *testing.T) {
	dirs, db := node(t)
	saved(t, dirs, db, "l", claim.KindLayer, "", 10)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dirs.Database()); err != nil {
		t.Fatal(err)
	}
	if all := blocks(t, dirs); all[Orphans].Count != 1 || all[Orphans].Reclaimable != 0 || all[Layers].Count != 0 {
		t.Errorf("%+v", all)
	}
}

//go:build linux

package space

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/store"
)

// claimed writes a claim of a spec.
func claimed(t *testing.T, db *store.Store, id, spec string) {
	t.Helper()
	row := store.Snapshot{ID: id, Instance: "i", Kind: claim.KindPause, State: store.SnapshotReady, VMID: "vm" + id, Snapshot: id, Spec: spec, CreatedAt: time.Now()}
	if err := db.Snapshots.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
}

// An image is removed because nothing is known that needs it. Where not all is known, any may be needed.
func TestRoots(t *testing.T) {
	for name, tt := range map[string]struct {
		make  func(t *testing.T, db *store.Store)
		known bool
		want  []string
	}{
		"none": {func(*testing.T, *store.Store) {}, true, nil},
		"a snapshot, with what is mounted in it": {func(t *testing.T, db *store.Store) {
			claimed(t, db, "a", `{"rootfs":"/x/a.erofs","mounts":[{"source":"/x/b.erofs","target":"/b"}]}`)
		}, true, []string{"/x/a.erofs", "/x/b.erofs"}},
		"a base template": {func(t *testing.T, db *store.Store) {
			row := store.Template{ID: "t", Alias: "base", BuildID: "b", VMID: "v", Snapshot: "s", Stamp: "s", Spec: []byte(`{"rootfs":"/x/base.erofs"}`)}
			if err := db.Templates.Put(t.Context(), &row); err != nil {
				t.Fatal(err)
			}
		}, true, []string{"/x/base.erofs"}},
		"a row of a newer program": {func(t *testing.T, db *store.Store) {
			claimed(t, db, "a", `{"rootfs":"/x/a.erofs"}`)
			claimed(t, db, "b", `{"rootfs":["/x/b.erofs"]}`)
		}, false, nil},
		"an orphan": {func(t *testing.T, db *store.Store) {
			claimed(t, db, "a", `{"rootfs":"/x/a.erofs"}`)
			if _, err := db.Orphans.SetAside(t.Context(), store.OrphanSnapshot, "v", "s", time.Now()); err != nil {
				t.Fatal(err)
			}
		}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, db := node(t)
			tt.make(t, db)
			roots, known, err := Roots(t.Context(), db)
			slices.Sort(roots)
			if err != nil || known != tt.known || !slices.Equal(roots, tt.want) {
				t.Errorf("%q, known %v, %v", roots, known, err)
			}
		})
	}
	if _, known, err := Roots(t.Context(), nil); known || err != nil {
		t.Errorf("without a database: known %v, %v", known, err)
	}
}

// A template is saved before its build has it. The state of its claim says so until then.
func TestASnapshotThatIsBeingSavedIsNeeded(t *testing.T) {
	for kind, ready := range map[string]Grade{claim.KindTemplate: Unneeded, claim.KindLayer: Layer} {
		for state, want := range map[string]Grade{store.SnapshotSaving: Needed, store.SnapshotReady: ready} {
			dirs, db := node(t)
			saved(t, dirs, db, "a", "", "", 1)
			row := store.Snapshot{ID: "c", Instance: "i", Kind: kind, State: state, VMID: "vma", Snapshot: "a", BuildID: "b0", Spec: `{}`, CreatedAt: time.Now()}
			if err := db.Snapshots.Put(t.Context(), &row); err != nil {
				t.Fatal(err)
			}
			all, err := snapshotsOf(t.Context(), dirs, db)
			if err != nil || len(all) != 1 || all[0].Claim.ID != "c" || all[0].Grade != want {
				t.Errorf("%s, %s: %+v, %v", kind, state, all, err)
			}
		}
	}
}

// A build that begins with uploaded files renews them.
func TestAnUploadThatABuildTakesMeanwhileStays(t *testing.T) {
	dirs, db := node(t)
	path := write(t, filepath.Join(dirs.Uploads(), "t1", "h.d"), 1)
	long := time.Now().Add(-uploadKept - time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	all, err := Objects(t.Context(), dirs, db, time.Now())
	i := slices.IndexFunc(all, func(o Object) bool { return o.Kind == Uploads })
	if err != nil || i < 0 || all[i].Grade != Unneeded {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if removed, err := RemoveUpload(all[i]); removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	if removed, err := RemoveUpload(all[i]); !removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
}

package statedir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// By another path a daemon would find none of its sandboxes, and say so of none.
func TestUserDataOutlivesAStateDirectoryByAnotherPath(t *testing.T) {
	was := layout.Layout{StateDir: filepath.Join(t.TempDir(), "was")}
	moved := layout.Layout{StateDir: filepath.Join(t.TempDir(), "moved")}
	link := layout.Layout{StateDir: filepath.Join(t.TempDir(), "link")}
	for _, dir := range []string{was.StateDir, moved.StateDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	is := func(given, want layout.Layout) {
		t.Helper()
		if got, err := Canonical(t.Context(), given); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", given.StateDir, got.StateDir, err, want.StateDir)
		}
	}
	is(was, was) // There is no database yet.
	db, err := store.Open(t.Context(), was.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	is(was, was)
	spec, err := json.Marshal(vm.Spec{Rootfs: filepath.Join(was.Base(), "0123")})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Sandboxes.Put(t.Context(), &store.Sandbox{ID: "i1", Instance: was.Instance(), State: "paused", SnapshotID: "c", Spec: string(spec)}); err != nil {
		t.Fatal(err)
	}
	is(was, was)
	if err := os.Symlink(was.StateDir, link.StateDir); err != nil {
		t.Fatal(err)
	}
	is(link, was)
	if _, err := store.Backup(t.Context(), was.Database(), moved.Database(), false); err != nil {
		t.Fatal(err)
	}
	refused := func(there string) {
		t.Helper()
		if _, err := Canonical(t.Context(), moved); err == nil || !strings.Contains(err.Error(), was.StateDir) {
			t.Errorf("%s is there: %v", there, err)
		}
	}
	refused("another directory")
	if err := os.RemoveAll(was.StateDir); err != nil {
		t.Fatal(err)
	}
	refused("nothing")
	if err := os.Symlink(moved.StateDir, was.StateDir); err != nil {
		t.Fatal(err)
	}
	refused("a link")
	other, err := store.Open(t.Context(), moved.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Sandboxes.Put(t.Context(), &store.Sandbox{ID: "i1", State: "killed", Spec: string(spec), Version: 1}); err != nil {
		t.Fatal(err)
	}
	is(moved, moved) // Nothing of it is left.
}

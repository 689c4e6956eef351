package keys

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestAKeyThatAFullDiskRefusesIsToldAsThat(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys := New(db)
	key, _, err := keys.Create(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for piece := make([]byte, 4096); err == nil; {
		_, err = filler.Write(piece)
	}
	if _, _, err := keys.Create(t.Context(), "second"); !errors.Is(err, sandbox.ErrDiskFull) {
		t.Errorf("create: %v", err)
	}
	if err := keys.Remove(t.Context(), key.ID); !errors.Is(err, sandbox.ErrDiskFull) {
		t.Errorf("remove: %v", err)
	}
	if list, err := keys.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

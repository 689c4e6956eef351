//go:build linux

package prune

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/store"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers.
)

// A disk without a free byte is when a prune is needed most, and no row can be changed on it, nor the database be opened.
func TestAFullDiskIsPruned(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil { // The driver's program has 36 MiB.
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	log := slog.New(slog.DiscardHandler)
	dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := errors.Join(dirs.Make(log), statedir.Reserve(dirs)); err != nil {
		t.Fatal(err)
	}
	parts, err := beside.Open(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string) {
		t.Helper()
		var text bytes.Buffer
		_, err := io.CopyN(&text, rand.Reader, 1<<20)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text.Bytes(), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	layer := filepath.Join(dirs.DriverState(parts.Driver.Info().Driver), "snapshots", "vm1", "s1", "pages.img")
	write(layer)
	row := store.Snapshot{ID: "c1", Instance: "i", Kind: claim.KindLayer, State: store.SnapshotReady, VMID: "vm1", Snapshot: "s1", Spec: `{"rootfs":"/x"}`, CreatedAt: time.Now()}
	if err := parts.Store.Snapshots.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	parts.Close()
	full, err := os.Create(filepath.Join(dir, "full"))
	if err == nil {
		_, err = io.CopyN(full, zeros{}, 96<<20)
		full.Close()
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	removed, err := Do(t.Context(), Config{Dirs: dirs, Layers: true, Log: log})
	if err != nil || len(removed) != 1 || removed[0].Kind != space.Layers || removed[0].Bytes < 1<<20 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if _, err := os.Stat(layer); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the layer is there: %v", err)
	}
	// The next full disk can be pruned as well.
	if err := os.Remove(full.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := Do(t.Context(), Config{Dirs: dirs, Log: log}); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dirs.StateDir, "reserve"), &st); err != nil || st.Blocks*512 < 4<<20 {
		t.Errorf("%d bytes are kept, %v", st.Blocks*512, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

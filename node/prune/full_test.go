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
	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers.
)

// small makes a node with a layer on a separate disk, and returns the layer's file. fill takes all free bytes of that disk.
func small(t *testing.T) (dirs layout.Layout, layer string, fill func() (full string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it mounts a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil { // The driver's program has 36 MiB.
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	dirs = layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := errors.Join(dirs.Make(slog.New(slog.DiscardHandler)), statedir.Reserve(dirs)); err != nil {
		t.Fatal(err)
	}
	parts, err := beside.Open(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer parts.Close()
	layer = filepath.Join(dirs.DriverState(parts.Driver.Info().Driver), "snapshots", "vm1", "s1", "pages.img")
	var text bytes.Buffer
	_, err = io.CopyN(&text, rand.Reader, 1<<20)
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(layer), 0o700), os.WriteFile(layer, text.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	row := store.Snapshot{ID: "c1", Instance: "i", Kind: claim.KindLayer, State: store.SnapshotReady, VMID: "vm1", Snapshot: "s1", Spec: `{"rootfs":"/x"}`, CreatedAt: time.Now()}
	if err := parts.Store.Snapshots.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	return dirs, layer, func() string {
		full, err := os.Create(filepath.Join(dir, "full"))
		if err == nil {
			_, err = io.CopyN(full, zeros{}, 96<<20)
			full.Close()
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
		return full.Name()
	}
}

// A disk without a free byte is when a prune is needed most, and no row can be changed on it, nor the database be opened.
func TestAFullDiskIsPruned(t *testing.T) {
	dirs, layer, fill := small(t)
	log := slog.New(slog.DiscardHandler)
	full := fill()
	removed, err := Do(t.Context(), Config{Dirs: dirs, Layers: true, Log: log})
	if err != nil || len(removed) != 1 || removed[0].Kind != space.Layers || removed[0].Bytes < 1<<20 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if _, err := os.Stat(layer); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the layer is there: %v", err)
	}
	// The next full disk can be pruned as well.
	if err := os.Remove(full); err != nil {
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

// What changes nothing needs no free byte, and leaves the room that is kept for a prune. A daemon that could not write any more has left
// a log beside its database.
func TestSurveyOfAFullDisk(t *testing.T) {
	dirs, layer, fill := small(t)
	fill()
	survey(t, dirs, layer, 1)
}

func TestSurveyAfterACrash(t *testing.T) {
	dirs, layer, fill := small(t)
	crash(t, dirs)
	fill()
	survey(t, dirs, layer, 2)
}

func survey(t *testing.T, dirs layout.Layout, layer string, layers int) {
	t.Helper()
	report, err := space.Of(t.Context(), dirs)
	if err != nil || report.Reclaimable < 1<<20 {
		t.Errorf("df: %+v, %v", report, err)
	}
	removed, err := Do(t.Context(), Config{Dirs: dirs, Layers: true, DryRun: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil || len(removed) != 1 || removed[0].Kind != space.Layers || removed[0].Count != layers || removed[0].Bytes < 1<<20 {
		t.Errorf("a dry run: %+v, %v", removed, err)
	}
	for _, file := range []string{layer, filepath.Join(dirs.StateDir, "reserve")} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// crash leaves the database as a host does that fails after a layer was added: the log was synced, and its index was not.
func crash(t *testing.T, dirs layout.Layout) {
	t.Helper()
	db, err := store.Open(t.Context(), dirs.Database())
	if err != nil {
		t.Fatal(err)
	}
	driver, err := vm.FindDriver(vm.AutoDriver, "")
	row := store.Snapshot{ID: "c2", Instance: "i", Kind: claim.KindLayer, State: store.SnapshotReady, VMID: "vm2", Snapshot: "s2", Spec: `{"rootfs":"/x"}`, CreatedAt: time.Now()}
	if err = errors.Join(err, db.Snapshots.Put(t.Context(), &row), os.MkdirAll(filepath.Join(dirs.DriverState(driver.Name), "snapshots", "vm2", "s2"), 0o700)); err != nil {
		t.Fatal(err)
	}
	left := map[string][]byte{}
	for _, suffix := range []string{"", "-wal"} {
		if left[suffix], err = os.ReadFile(dirs.Database() + suffix); err != nil || len(left[suffix]) == 0 {
			t.Fatalf("%q: %d bytes, %v", suffix, len(left[suffix]), err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for suffix, data := range left {
		if err := os.WriteFile(dirs.Database()+suffix, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

//go:build linux

package beside

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers.
)

func TestAClaimIsDroppedAsItWasRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the driver needs root")
	}
	dir := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	files := filepath.Join(dirs.DriverState(p.Driver.Info().Driver), "snapshots", "vm1", "s1")
	if err := os.MkdirAll(files, 0o700); err != nil {
		t.Fatal(err)
	}
	row := store.Snapshot{ID: "c1", Kind: "layer", State: store.SnapshotReady, VMID: "vm1", Snapshot: "s1", CreatedAt: time.Now()}
	second := store.Snapshot{ID: "c2", Kind: "layer", State: store.SnapshotReady, VMID: "vm1", Snapshot: "s1", CreatedAt: time.Now()}
	for _, n := range []*store.Snapshot{&row, &second} {
		if err := p.Store.Snapshots.Put(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere, other, stale := row, row, row
	elsewhere.Node, other.Driver, stale.Version = "another", "another", 7
	for name, c := range map[string]struct {
		claim   store.Snapshot
		removed bool
	}{"1 of another node": {elsewhere, false}, "of another driver": {other, false}, "2 changed": {stale, false}} {
		if removed, err := p.Drop(t.Context(), c.claim); err != nil || removed != c.removed {
			t.Errorf("%s: %v, %v", name, removed, err)
		}
	}
	if claims, err := p.Store.Snapshots.Claims(t.Context()); err != nil || len(claims) != 2 {
		t.Errorf("left are %d claims, %v", len(claims), err)
	}
	if removed, err := p.Drop(t.Context(), row); err != nil || removed {
		t.Errorf("with another claim: %v, %v", removed, err)
	}
	if _, err := os.Stat(files); err != nil {
		t.Error(err)
	}
	if removed, err := p.Drop(t.Context(), second); err != nil || !removed {
		t.Errorf("the last claim: %v, %v", removed, err)
	}
	if _, err := os.Stat(files); !os.IsNotExist(err) {
		t.Errorf("the files are there: %v", err)
	}
	if _, err := Open(t.Context(), dirs, "none"); err == nil {
		t.Error("a driver that does not exist")
	}
	p.Close()
	if left, err := filepath.Glob(filepath.Join(dirs.RunDir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left are %q, %v", left, err)
	}
	var _ vm.Runtime = p.Driver
}

// Parts for reading know whose claims are here as those with a driver do.
func TestWhoseClaimsAreHere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the driver needs root")
	}
	dir := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	reading, err := OpenToRead(t.Context(), dirs, "")
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	driver := p.Driver.Info().Driver
	for name, c := range map[string]struct {
		claim store.Snapshot
		here  bool
	}{
		"of an early version": {store.Snapshot{}, true},
		"of this node":        {store.Snapshot{Node: p.Node, Driver: driver}, true},
		"of another node":     {store.Snapshot{Node: "another", Driver: driver}, false},
		"of another driver":   {store.Snapshot{Node: p.Node, Driver: "another"}, false},
	} {
		if p.Here(c.claim) != c.here || reading.Here(c.claim) != c.here {
			t.Errorf("%s: %v, and %v for reading", name, p.Here(c.claim), reading.Here(c.claim))
		}
	}
}

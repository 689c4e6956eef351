package mover

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

func TestWhatIsNotASnapshotDoesNotMove(t *testing.T) {
	dirs := files.Dirs{State: t.TempDir(), Run: t.TempDir(), Instance: "i"}
	if err := dirs.Make(); err != nil {
		t.Fatal(err)
	}
	saved, err := snapshots.Open(dirs, "gvisor", "v1")
	if err != nil {
		t.Fatal(err)
	}
	v := New(engine.Kept(dirs.Engines()), saved)
	damaged := filepath.Join(dirs.Snapshot("vm1", "damaged"), snapshots.ManifestFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(damaged), 0o700), os.WriteFile(damaged, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"none": vm.ErrNotFound, "damaged": vm.ErrIncompatible, "../x": vm.ErrInvalid} {
		if _, err := v.ExportSnapshot(t.Context(), "vm1", name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := v.CheckImport(t.Context(), []byte("{}")); !errors.Is(err, vm.ErrIncompatible) {
		t.Error(err)
	}
	for name, want := range map[string]error{"s": vm.ErrIncompatible, "../x": vm.ErrInvalid} {
		if _, err := v.ImportSnapshot(t.Context(), "vm1", name, vm.ImportedSnapshot{Description: []byte("{}")}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// What comes as an engine and is not a program is not kept.
func TestAnEngineThatIsNoProgramIsRefused(t *testing.T) {
	dir := t.TempDir()
	v := New(engine.Kept(filepath.Join(dir, "engines")), nil)
	text := filepath.Join(dir, "text")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "engines"), 0o700), os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := v.take("rundlet-sandbox-0123456789abcdef", text); !errors.Is(err, vm.ErrIncompatible) {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "engines")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// A program that came from elsewhere must not lie where a later release puts its own.
func TestAnEngineHasTheNameOfItsContent(t *testing.T) {
	dir := t.TempDir()
	kept := engine.Kept(filepath.Join(dir, "engines"))
	v := New(kept, nil)
	program, err := os.ReadFile("/proc/self/exe")
	file := filepath.Join(dir, "program")
	if err = errors.Join(err, os.Mkdir(string(kept), 0o700), os.WriteFile(file, program, 0o600)); err != nil {
		t.Fatal(err)
	}
	const later = "rundlet-sandbox-0123456789abcdef"
	if err := v.take(later, file); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("the name of another one: %v", err)
	}
	if left, err := os.ReadDir(string(kept)); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	sum := sha256.Sum256(program)
	own := "rundlet-sandbox-" + hex.EncodeToString(sum[:8])
	if err := v.take(own, file); err != nil || kept.Check(own) != nil {
		t.Errorf("its own name: %v, %v", err, kept.Check(own))
	}
}

//go:build linux

package gvisor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// The record of a machine that a newer program made: Adopt refuses, and takes nothing
// of it for lost, damaged or unclaimed.
func TestUserDataOutlivesTheRecordOfANewerProgram(t *testing.T) {
	d := newDriver(t)
	file := d.dirs.Record("0123456789abcdef")
	newer := []byte(`{"format":2,"id":{"now":"an object"},"key":"0123456789abcdef"}`)
	bundle := d.dirs.Bundle("0123456789abcdef")
	if err := errors.Join(os.WriteFile(file, newer, 0o600), os.Mkdir(bundle, 0o700)); err != nil {
		t.Fatal(err)
	}
	_, _, err := d.Adopt(testContext(t))
	var refused *format.NewerError
	if !errors.As(err, &refused) || refused.Found != 2 || refused.Known != recordFormat || !strings.Contains(err.Error(), "record of the machine") {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, newer) {
		t.Errorf("the record is %q, %v", after, err)
	}
	if _, err := os.Stat(bundle); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(file), os.Remove(bundle)); err != nil {
		t.Fatal(err)
	}
}

func TestTheManifestOfANewerProgramIsRefusedByName(t *testing.T) {
	d := newDriver(t)
	dir := d.dirs.Snapshot("i1", "s1")
	newer := []byte(`{"format":6,"files":["now a list"]}`)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, snapshots.ManifestFile), newer, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := d.InspectSnapshot(testContext(t), "i1", "s1")
	var refused *format.NewerError
	if !errors.As(err, &refused) || refused.Found != 6 || refused.Known != snapshots.Format || !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, snapshots.ManifestFile)); err != nil || !bytes.Equal(after, newer) {
		t.Errorf("it is %q, %v", after, err)
	}
}

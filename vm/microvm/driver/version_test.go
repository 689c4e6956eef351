//go:build linux

package driver

import (
	"context"
	"errors"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// TestASnapshotIsOfTheVersionOfItsProcess: one that an earlier driver launched goes on over an upgrade of the monitor, and what it saves is in its own format.
func TestASnapshotIsOfTheVersionOfItsProcess(t *testing.T) {
	o := options(t)
	ctx := context.Background()
	first := open(t, o)
	if err := errors.Join(first.Create(ctx, "a", image(t)), first.Start(ctx, "a"), first.Close()); err != nil {
		t.Fatal(err)
	}
	later := doubleHypervisor
	later.Version = "2"
	d, err := Open(o, later)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if views, lost, err := d.Adopt(ctx); err != nil || len(lost) > 0 || len(views) != 1 {
		t.Fatalf("adopted %v, lost %v, %v", views, lost, err)
	}
	defer d.Destroy(ctx, "a") //nolint:errcheck // It ends with the test.
	version := func(id, name string) string {
		t.Helper()
		info, err := d.InspectSnapshot(ctx, id, name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Stamp.Version
	}
	if err := errors.Join(d.Stop(ctx, "a"), d.Snapshot(ctx, "a", "one")); err != nil {
		t.Fatal(err)
	}
	if v := version("a", "one"); v != "1" {
		t.Errorf("the snapshot of a process of version 1 is of version %s", v)
	}
	if err := d.Create(ctx, "b", vm.Spec{RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("version 2 restores it: %v", err)
	}
	if err := errors.Join(d.Create(ctx, "c", image(t)), d.Start(ctx, "c"), d.Snapshot(ctx, "c", "one")); err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(ctx, "c") //nolint:errcheck // It ends with the test.
	if v := version("c", "one"); v != "2" {
		t.Errorf("the snapshot of a process of version 2 is of version %s", v)
	}
}

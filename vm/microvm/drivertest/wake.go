//go:build linux

package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// NoProgramRunsFirst lets a restored guest run for a time in which the driver does not know that: its programs must stand still until it has the clock,
// the entropy, the name and the address. unseen lets the machine run so, and returns a function that ends this and starts the machine.
func (k Kind) NoProgramRunsFirst(t *testing.T, unseen func(ctx context.Context, d *Driver, id string) (start func() error, err error)) {
	d := k.NewDriver(t)
	ctx := Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.DestroyAll(t)
	ticks := func(id string) int64 {
		t.Helper()
		n, err := Client{d}.number(ctx, id, "/ticks")
		must(err)
		return n
	}
	must(d.Create(ctx, "a", Spec(t)))
	must(d.Start(ctx, "a"))
	before, asked := ticks("a"), time.Now()
	must(d.Snapshot(ctx, "a", "one"))
	saved := time.Since(asked)
	spec := Spec(t)
	must(d.Create(ctx, "b", vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}))
	start, err := unseen(ctx, d, "b")
	must(err)
	const alone = 3 * time.Second
	<-time.After(alone)
	woken := time.Now()
	must(start())
	after := ticks("b")
	if most := int64((saved+time.Since(woken))/Tick) + 10; after-before > most {
		t.Errorf("the program has done %d steps between the snapshot and the first question, want at most %d: it ran for %v before its machine was itself", after-before, most, alone)
	}
}

package firecracker

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

// TestNoProgramRunsBeforeItsMachineIsItself lets a restored guest run for a time in which the driver does not know that: its programs must stand
// still until it has the clock, the entropy, the name and the address.
func TestNoProgramRunsBeforeItsMachineIsItself(t *testing.T) {
	needsKVM(t)
	d := fc.NewDriver(t)
	ctx := drivertest.Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.DestroyAll(t)
	ticks := func(id string) int64 {
		t.Helper()
		text, err := drivertest.Client{D: d}.Do(ctx, id, "GET", "/ticks", "")
		must(err)
		n, err := strconv.ParseInt(text, 10, 64)
		must(err)
		return n
	}
	must(d.Create(ctx, "a", drivertest.Spec(t)))
	must(d.Start(ctx, "a"))
	before, asked := ticks("a"), time.Now()
	must(d.Snapshot(ctx, "a", "one"))
	saved := time.Since(asked)
	spec := drivertest.Spec(t)
	must(d.Create(ctx, "b", vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}))
	key := d.Find(t, "b").Key
	client, err := api.Open(ctx, func(ctx context.Context) (net.Conn, error) {
		return untrusted.Dial(ctx, filepath.Join(d.Disks(), key, "firecracker", key, "root", "api"))
	})
	must(err)
	must(client.Resume(ctx))
	const alone = 3 * time.Second
	<-time.After(alone)
	woken := time.Now()
	must(d.Start(ctx, "b"))
	after := ticks("b")
	if most := int64((saved+time.Since(woken))/drivertest.Tick) + 10; after-before > most {
		t.Errorf("the program has done %d steps between the snapshot and the first question, want at most %d: it ran for %v before its machine was itself", after-before, most, alone)
	}
}

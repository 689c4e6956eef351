package qemu

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// TestNoProgramRunsBeforeItsMachineIsItself lets a restored guest run for a time in which the host cannot reach its first process: its
// programs must stand still until that has the clock, the entropy, the name and the address.
func TestNoProgramRunsBeforeItsMachineIsItself(t *testing.T) {
	d := qemu.NewDriver(t)
	ctx := drivertest.Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.DestroyAll(t)
	c := drivertest.Client{D: d}
	ticks := func(id string) int64 {
		t.Helper()
		text, err := c.Do(ctx, id, "GET", "/ticks", "")
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
	// QEMU has one client at a time: the driver waits for this one to go.
	first, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.Machines(), d.Find(t, "b").Key, "link"))
	must(err)
	started := make(chan error, 1)
	go func() { started <- d.Start(ctx, "b") }()
	const alone = 3 * time.Second
	<-time.After(alone)
	must(first.Close())
	woken := time.Now()
	must(<-started)
	after := ticks("b")
	if most := int64((saved+time.Since(woken))/drivertest.Tick) + 10; after-before > most {
		t.Errorf("the program has done %d steps between the snapshot and the first question, want at most %d: it ran for %v before its machine was itself", after-before, most, alone)
	}
}

// TestAStoppedMachineIsStoppedAgain has a guest that a call, whose process died, had let run although its machine is stopped: the next driver
// stops it.
func TestAStoppedMachineIsStoppedAgain(t *testing.T) {
	first := qemu.NewDriver(t)
	ctx := drivertest.Context(t)
	if err := errors.Join(first.Create(ctx, "a", drivertest.Spec(t)), first.Start(ctx, "a"), first.Stop(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(first.Machines(), first.Find(t, "a").Key, "qmp")
	// QEMU has one client at a time: that of the driver has to go.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	var status struct{ Running bool }
	for _, command := range []string{"cont", "query-status"} {
		ask(t, socket, command, &status)
	}
	if !status.Running {
		t.Fatal("it does not run")
	}
	d := qemu.Open(t, first.Options)
	d.DestroyAll(t)
	if views, lost, err := vmtest.Adopted(ctx, d); err != nil || len(lost) > 0 || len(views) != 1 || views["a"].Status != vm.StatusStopped {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	if err := d.Stop(ctx, "a"); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("stop of a stopped machine: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if ask(t, socket, "query-status", &status); status.Running {
		t.Error("it runs")
	}
	last := qemu.Open(t, first.Options)
	last.DestroyAll(t)
	if _, _, err := vmtest.Adopted(ctx, last); err != nil {
		t.Fatal(err)
	}
	if err := last.Start(ctx, "a"); err != nil {
		t.Error(err)
	}
}

// ask makes a request of QEMU, by a connection for it alone.
func ask(t *testing.T, socket, command string, result any) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	client, err := qmp.New(drivertest.Context(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Do(drivertest.Context(t), command, nil, result); err != nil {
		t.Fatal(err)
	}
}

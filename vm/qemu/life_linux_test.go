package qemu

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
	"github.com/rundlet/rundlet/vm/vmtest"
)

func TestNoProgramRunsBeforeItsMachineIsItself(t *testing.T) {
	qemu.NoProgramRunsFirst(t, func(ctx context.Context, d *drivertest.Driver, id string) (start func() error, err error) {
		// QEMU has one client at a time: the driver waits for this one to go, and cannot reach the guest's first process until then.
		first, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.Machines(), d.Find(t, id).Key, "link"))
		if err != nil {
			return nil, err
		}
		started := make(chan error, 1)
		go func() { started <- d.Start(ctx, id) }()
		return func() error { return errors.Join(first.Close(), <-started) }, nil
	})
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

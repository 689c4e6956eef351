package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// TestALife boots a guest, saves it, restores two copies, and saves one of those.
func TestALife(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			tail, _ := d.ConsoleTail(ctx, "a", 20)
			t.Fatalf("%v\nconsole: %q", err, tail)
		}
	}
	d.destroyAll(t)
	begin := time.Now()
	step := func(what string) {
		t.Logf("%s: %v", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
	must(d.Create(ctx, "a", guestSpec(t)))
	step("create")
	must(d.Start(ctx, "a"))
	step("start")
	c := client{d}
	must(c.Write(ctx, "a", "key", "value"))
	step("first request")
	// A young kernel seeds itself anew when it is asked after some seconds, which would hide that copies are alike: it does so now, and the
	// copies are asked at once.
	_, err := c.do(ctx, "a", "GET", "/random", "")
	must(err)
	must(d.Snapshot(ctx, "a", "one"))
	step("snapshot")
	must(c.Write(ctx, "a", "key", "later"))
	step("second request")
	random := map[string]bool{}
	restore := func(id, from, snapshot string) {
		t.Helper()
		spec := guestSpec(t)
		must(d.Create(ctx, id, vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, Hostname: id,
			RestoreFrom: &vm.SnapshotRef{VMID: from, SnapshotID: snapshot, ResumeImmediately: true}}))
		step("restore " + id)
		number, err := c.do(ctx, id, "GET", "/random", "")
		must(err)
		random[number] = true
		value, err := c.Read(ctx, id, "key")
		must(err)
		step("read " + id)
		if value != "value" {
			t.Errorf("%s: %q", id, value)
		}
	}
	restore("b", "a", "one")
	restore("c", "a", "one")
	must(d.Snapshot(ctx, "b", "two"))
	step("snapshot of b")
	restore("d", "b", "two")
	if len(random) != 3 {
		t.Errorf("random numbers: %v", random)
	}
}

// TestGenerations saves and restores a machine again and again: what it has in memory and on its disk stays, each copy has the time, and
// no snapshot is much larger than the first.
func TestGenerations(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.destroyAll(t)
	c := client{d}
	clock := func(id string) {
		t.Helper()
		text, err := c.do(ctx, id, "GET", "/clock", "")
		must(err)
		nanoseconds, err := strconv.ParseInt(text, 10, 64)
		must(err)
		// The answer is on its way for a time, too.
		if off := time.Since(time.Unix(0, nanoseconds)); off < -50*time.Millisecond || off > time.Second {
			t.Errorf("%s: the clock is off by %v", id, off)
		}
	}
	must(d.Create(ctx, "g0", guestSpec(t)))
	must(d.Start(ctx, "g0"))
	clock("g0")
	var first int64
	const generations = 10
	for i := range generations {
		id, next := fmt.Sprintf("g%d", i), fmt.Sprintf("g%d", i+1)
		must(c.Write(ctx, id, id, "memory"))
		must(disk{c}.Write(ctx, id, id, "disk"))
		must(d.Snapshot(ctx, id, "one"))
		must(d.Destroy(ctx, id))
		size := allocated(t, filepath.Join(d.options.StateDir, "snapshots", id, "one"))
		if i == 1 {
			first = size
		}
		if i > 1 && size > first+first/2 {
			t.Errorf("the snapshot of generation %d takes %d bytes, the first of a copy %d", i, size, first)
		}
		spec := guestSpec(t)
		must(d.Create(ctx, next, vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: id, SnapshotID: "one", ResumeImmediately: true}}))
		must(d.DeleteSnapshot(ctx, id, "one"))
		clock(next)
	}
	last := fmt.Sprintf("g%d", generations)
	for i := range generations {
		key := fmt.Sprintf("g%d", i)
		if value, err := c.Read(ctx, last, key); err != nil || value != "memory" {
			t.Errorf("memory of generation %d: %q, %v", i, value, err)
		}
		if value, err := (disk{c}).Read(ctx, last, key); err != nil || value != "disk" {
			t.Errorf("disk of generation %d: %q, %v", i, value, err)
		}
	}
}

// allocated is what the files in a directory take on the disk.
func allocated(t *testing.T, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return sum
}

// TestNoProgramRunsBeforeItsMachineIsItself lets a restored guest run for a time in which the host cannot reach its first process: its
// programs must stand still until that has the clock, the entropy, the name and the address.
func TestNoProgramRunsBeforeItsMachineIsItself(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.destroyAll(t)
	c := client{d}
	ticks := func(id string) int64 {
		t.Helper()
		text, err := c.do(ctx, id, "GET", "/ticks", "")
		must(err)
		n, err := strconv.ParseInt(text, 10, 64)
		must(err)
		return n
	}
	must(d.Create(ctx, "a", guestSpec(t)))
	must(d.Start(ctx, "a"))
	before, asked := ticks("a"), time.Now()
	must(d.Snapshot(ctx, "a", "one"))
	saved := time.Since(asked)
	spec := guestSpec(t)
	must(d.Create(ctx, "b", vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}))
	// QEMU has one client at a time: the driver waits for this one to go.
	first, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.machines(), d.find(t, "b").key, "link"))
	must(err)
	started := make(chan error, 1)
	go func() { started <- d.Start(ctx, "b") }()
	const alone = 3 * time.Second
	<-time.After(alone)
	must(first.Close())
	woken := time.Now()
	must(<-started)
	after := ticks("b")
	if most := int64((saved+time.Since(woken))/tick) + 10; after-before > most {
		t.Errorf("the program has done %d steps between the snapshot and the first question, want at most %d: it ran for %v before its machine was itself", after-before, most, alone)
	}
}

// TestAStoppedMachineIsStoppedAgain has a guest that a call, whose process died, had let run although its machine is stopped: the next driver
// stops it.
func TestAStoppedMachineIsStoppedAgain(t *testing.T) {
	first := newDriver(t)
	ctx := testContext(t)
	if err := errors.Join(first.Create(ctx, "a", guestSpec(t)), first.Start(ctx, "a"), first.Stop(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(first.machines(), first.find(t, "a").key, "qmp")
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
	d := open(t, first.options)
	d.destroyAll(t)
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
	last := open(t, first.options)
	last.destroyAll(t)
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
	client, err := qmp.New(testContext(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Do(testContext(t), command, nil, result); err != nil {
		t.Fatal(err)
	}
}

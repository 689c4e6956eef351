//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Life boots a guest, saves it, restores two copies, and saves one of those.
func (k Kind) Life(t *testing.T) {
	d := k.NewDriver(t)
	ctx := Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			tail, _ := d.ConsoleTail(ctx, "a", 20)
			t.Fatalf("%v\nconsole: %q", err, tail)
		}
	}
	d.DestroyAll(t)
	begin := time.Now()
	step := func(what string) {
		t.Logf("%s: %v", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
	must(d.Create(ctx, "a", Spec(t)))
	step("create")
	must(d.Start(ctx, "a"))
	step("start")
	c := Client{d}
	must(c.Write(ctx, "a", "key", "value"))
	step("first request")
	// A young kernel seeds itself anew when it is asked after some seconds, which would hide that copies are alike: it does so now, and the
	// copies are asked at once.
	_, err := c.Do(ctx, "a", "GET", "/random", "")
	must(err)
	must(d.Snapshot(ctx, "a", "one"))
	step("snapshot")
	must(c.Write(ctx, "a", "key", "later"))
	step("second request")
	random := map[string]bool{}
	restore := func(id, from, snapshot string) {
		t.Helper()
		spec := Spec(t)
		must(d.Create(ctx, id, vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, Hostname: id,
			RestoreFrom: &vm.SnapshotRef{VMID: from, SnapshotID: snapshot, ResumeImmediately: true}}))
		step("restore " + id)
		number, err := c.Do(ctx, id, "GET", "/random", "")
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

// Generations saves and restores a machine again and again: what it has in memory and on its disk stays, each copy has the time, and
// no snapshot is much larger than the first.
func (k Kind) Generations(t *testing.T) {
	d := k.NewDriver(t)
	ctx := Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.DestroyAll(t)
	c := Client{d}
	clock := func(id string) {
		t.Helper()
		nanoseconds, err := c.number(ctx, id, "/clock")
		must(err)
		// The answer is on its way for a time, too.
		if off := time.Since(time.Unix(0, nanoseconds)); off < -50*time.Millisecond || off > time.Second {
			t.Errorf("%s: the clock is off by %v", id, off)
		}
	}
	must(d.Create(ctx, "g0", Spec(t)))
	must(d.Start(ctx, "g0"))
	clock("g0")
	var first int64
	const generations = 10
	for i := range generations {
		id, next := fmt.Sprintf("g%d", i), fmt.Sprintf("g%d", i+1)
		must(c.Write(ctx, id, id, "memory"))
		must(Disk{c}.Write(ctx, id, id, "disk"))
		must(d.Snapshot(ctx, id, "one"))
		must(d.Destroy(ctx, id))
		size := allocated(t, filepath.Join(d.Options.StateDir, "snapshots", id, "one"))
		if i == 1 {
			first = size
		}
		if i > 1 && size > first+first/2 {
			t.Errorf("the snapshot of generation %d takes %d bytes, the first of a copy %d", i, size, first)
		}
		spec := Spec(t)
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
		if value, err := (Disk{c}).Read(ctx, last, key); err != nil || value != "disk" {
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

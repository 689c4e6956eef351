package qemu

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
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
	t.Cleanup(func() {
		for _, v := range d.machines.Views() {
			_ = d.Destroy(ctx, v.ID)
		}
	})
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
	must(d.Snapshot(ctx, "a", "one"))
	step("snapshot")
	must(c.Write(ctx, "a", "key", "later"))
	step("second request")
	restore := func(id, from, snapshot string) {
		t.Helper()
		spec := guestSpec(t)
		must(d.Create(ctx, id, vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, Hostname: id,
			RestoreFrom: &vm.SnapshotRef{VMID: from, SnapshotID: snapshot, ResumeImmediately: true}}))
		step("restore " + id)
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
	random := map[string]bool{}
	for _, id := range []string{"b", "c", "d"} {
		value, err := c.do(ctx, id, "GET", "/random", "")
		must(err)
		random[value] = true
	}
	if len(random) != 3 {
		t.Errorf("random numbers: %v", random)
	}
}

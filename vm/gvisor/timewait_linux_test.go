package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
)

// TestConnectionsOfThePastLeaveSnapshots makes connections within a guest, and
// waits for them to be gone from its snapshots, over a restore.
func TestConnectionsOfThePastLeaveSnapshots(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	n := 0
	save := func() (string, int64) {
		t.Helper()
		n++
		name := fmt.Sprint("s", n)
		if err := d.Snapshot(ctx, "a", name); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(d.conf.StateDir, "snapshots", "a", name, "checkpoint.img"))
		if err != nil {
			t.Fatal(err)
		}
		return name, info.Size()
	}
	_, before := save()
	if text, err := (client{d}).do(ctx, "a", "POST", "/short/256", ""); err != nil || text != "" {
		t.Fatalf("%q, %v", text, err)
	}
	name, size := save()
	// The threads that the guest made meanwhile stay.
	most := before + (size-before)/2
	t.Logf("the kernel takes %d bytes, and %d with connections", before, size)
	if err := errors.Join(d.Destroy(ctx, "a"), d.Forget(ctx, "a"), d.Create(ctx, "a", resumed(t, "a", name))); err != nil {
		t.Fatal(err)
	}
	limit := time.After(20 * timeWait)
	for size > most {
		select {
		case <-limit:
			t.Fatalf("the kernel takes %d bytes, at most %d if the connections were gone", size, most)
		case <-time.After(timeWait / 2):
			_, size = save()
		}
	}
}

// TestGVisorHasASystemCallForSockets fails with a gVisor whose sockets are made
// in another way.
func TestGVisorHasASystemCallForSockets(t *testing.T) {
	for _, table := range kernel.SyscallTables() {
		calls := 0
		for _, call := range table.Table {
			if call.Name == "socket" && call.Fn != nil {
				calls++
			}
		}
		if calls != 1 {
			t.Errorf("%v has %d system calls that make sockets", table.Arch, calls)
		}
	}
}

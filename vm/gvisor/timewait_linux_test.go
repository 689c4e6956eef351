package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm/gvisor/sentry"
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
	limit := time.After(20 * sentry.TimeWait)
	for size > most {
		select {
		case <-limit:
			t.Fatalf("the kernel takes %d bytes, at most %d if the connections were gone", size, most)
		case <-time.After(sentry.TimeWait / 2):
			_, size = save()
		}
	}
}

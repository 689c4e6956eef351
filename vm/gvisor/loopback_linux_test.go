package gvisor

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// sameConnections is how many connections are made again with the same four
// numbers. Each that meets a socket left in TIME-WAIT hangs with probability
// one half, so that no run of luck passes.
const sameConnections = 48

func shortConnections(t *testing.T, d *Driver, id string) {
	t.Helper()
	text, err := client{d}.do(testContext(t), id, "POST", fmt.Sprintf("/short/%d", sameConnections), "")
	if err != nil || text != "" {
		t.Errorf("%s: connections within the guest: %q, %v", id, text, err)
	}
}

// restore creates a machine that runs at once, until the end of the test.
func restore(t *testing.T, d *Driver, id string, spec vm.Spec) {
	t.Helper()
	if err := d.Create(testContext(t), id, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), id); err != nil && !errors.Is(err, vm.ErrInvalidTransition) {
			t.Error(err)
		}
	})
}

// TestARestoredGuestReconnectsToItself makes short connections within a guest,
// saves it while their sockets are in TIME-WAIT, and makes the same ones again:
// in the source, in a pause and resume, and in two forks.
func TestARestoredGuestReconnectsToItself(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	shortConnections(t, d, "a")
	if err := d.Snapshot(ctx, "a", "fork"); err != nil {
		t.Fatal(err)
	}
	shortConnections(t, d, "a")
	for _, id := range []string{"b", "c"} {
		restore(t, d, id, resumed(t, "a", "fork"))
		shortConnections(t, d, id)
	}
	for i := range 3 {
		name := fmt.Sprint("pause-", i)
		if err := errors.Join(d.Stop(ctx, "b"), d.Snapshot(ctx, "b", name), d.Destroy(ctx, "b"), d.Forget(ctx, "b")); err != nil {
			t.Fatal(err)
		}
		if err := d.Create(ctx, "b", resumed(t, "b", name)); err != nil {
			t.Fatal(err)
		}
		shortConnections(t, d, "b")
	}
}

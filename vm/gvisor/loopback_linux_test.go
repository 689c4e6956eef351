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

func shortConnections(t *testing.T, d *Driver, id, query string) {
	t.Helper()
	text, err := client{d}.do(testContext(t), id, "POST", fmt.Sprintf("/short/%d%s", sameConnections, query), "")
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
// in the source, in two forks, and over pauses. In the second fork they are open
// when it is saved, and so come into TIME-WAIT only in its next life.
func TestARestoredGuestReconnectsToItself(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	shortConnections(t, d, "a", "")
	if err := d.Snapshot(ctx, "a", "fork"); err != nil {
		t.Fatal(err)
	}
	shortConnections(t, d, "a", "")
	for _, id := range []string{"b", "c"} {
		restore(t, d, id, resumed(t, "a", "fork"))
		shortConnections(t, d, id, "")
	}
	for i := range 3 {
		pause(t, d, "b", fmt.Sprint("pause-", i))
		shortConnections(t, d, "b", "")
	}
	shortConnections(t, d, "c", "?keep=1")
	pause(t, d, "c", "open")
	shortConnections(t, d, "c", "")
}

// pause ends a machine and goes on with it in another.
func pause(t *testing.T, d *Driver, id, snapshot string) {
	t.Helper()
	ctx := testContext(t)
	if err := errors.Join(d.Stop(ctx, id), d.Snapshot(ctx, id, snapshot), d.Destroy(ctx, id), d.Forget(ctx, id),
		d.Create(ctx, id, resumed(t, id, snapshot))); err != nil {
		t.Fatal(err)
	}
}

// TestConnectionsWithinARestoredGuestGoOn saves a guest with connections to
// itself in each state, and uses them in the source and in two generations.
func TestConnectionsWithinARestoredGuestGoOn(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	ask := func(id, path string) {
		t.Helper()
		if text, err := (client{d}).do(ctx, id, "POST", path, ""); err != nil || text != "" {
			t.Errorf("%s %s: %v\n%s", id, path, err, text)
		}
	}
	ask("a", "/local/open")
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	ask("a", "/local/check")
	restore(t, d, "b", resumed(t, "a", "one"))
	if err := d.Snapshot(ctx, "b", "two"); err != nil {
		t.Fatal(err)
	}
	ask("b", "/local/check")
	restore(t, d, "c", resumed(t, "b", "two"))
	ask("c", "/local/check")
}

package gvisor

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// packetSockets are those of machines that this process holds.
func packetSockets(t *testing.T, m *machine) (files []*os.File) {
	t.Helper()
	m.packets.mu.Lock()
	defer m.packets.mu.Unlock()
	if m.packets.n != nil {
		files = m.packets.n.Files
	}
	return files
}

// TestPacketSocketsAreHeldUntilTheSandboxEnds also asks for the network again, as a start does that is
// repeated, and when there is none any more.
func TestPacketSocketsAreHeldUntilTheSandboxEnds(t *testing.T) {
	d := newDriver(t)
	spec := guestSpec(t)
	start(t, d, "a", spec)
	m := mustFind(t, d, "a")
	held := packetSockets(t, m)
	if len(held) != 1 {
		t.Fatalf("it holds %d sockets", len(held))
	}
	if _, err := held[0].Stat(); err != nil {
		t.Errorf("the socket is closed: %v", err)
	}
	if n, err := m.packets.take(spec, m.sandbox.PID, m.sandbox.Start); err != nil || n != m.packets.n || len(n.FDBasedLinks) != 1 || len(n.FDBasedLinks[0].Addresses) == 0 {
		t.Errorf("again: %+v, %v", n, err)
	}
	ctx := testContext(t)
	if err := d.Destroy(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); !errors.Is(err, os.ErrClosed); _, err = held[0].Stat() {
		if ctx.Err() != nil {
			t.Fatal("the socket stays open")
		}
	}
	if _, err := m.packets.take(spec, m.sandbox.PID, m.sandbox.Start); !errors.Is(err, vm.ErrUnavailable) || !strings.Contains(err.Error(), "ended") {
		t.Errorf("after its end: %v", err)
	}
}

// TestTheNetworkOfAnotherProcessIsNotTaken has a process whose number was that of a sandbox, and a start that an earlier daemon
// has broken off.
func TestTheNetworkOfAnotherProcessIsNotTaken(t *testing.T) {
	d, ctx := newDriver(t), testContext(t)
	spec := guestSpec(t)
	if err := d.Create(ctx, "a", spec); err != nil {
		t.Fatal(err)
	}
	m := mustFind(t, d, "a")
	if _, err := new(packets).take(spec, m.sandbox.PID, m.sandbox.Start+1); !errors.Is(err, vm.ErrUnavailable) || !strings.Contains(err.Error(), "ended") {
		t.Errorf("of another process: %v", err)
	}
	var earlier packets
	n, err := earlier.take(spec, m.sandbox.PID, m.sandbox.Start)
	if err != nil || !hasAddress(n, spec.GuestIP) {
		t.Fatalf("the other one has taken the address: %v", err)
	}
	earlier.close()
	if err := d.Start(ctx, "a"); err == nil || !strings.Contains(err.Error(), "lost the sandbox's address "+spec.GuestIP) {
		t.Errorf("a sandbox without its network: %v", err)
	}
	if packetSockets(t, m) != nil {
		t.Error("sockets are held without a network")
	}
	if err := freeAll(ctx, d); err != nil {
		t.Error(err)
	}
}

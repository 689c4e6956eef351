package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
)

// tracked lists the original directions of the flows of a namespace.
func (w *world) tracked(ns *os.File) map[conntrack.Tuple]bool {
	w.t.Helper()
	table, err := conntrack.Open(ns)
	if err != nil {
		w.t.Fatal(err)
	}
	defer table.Close()
	out := map[conntrack.Tuple]bool{}
	if err := table.Dump(nil, func(orig, _ conntrack.Tuple) { out[orig] = true }); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// trackedTo counts the flows to a port, from one address if it is valid.
func (w *world) trackedTo(ns *os.File, from netip.Addr, port uint16) (k int) {
	w.t.Helper()
	for f := range w.tracked(ns) {
		if f.DstPort == port && (!from.IsValid() || netip.AddrFrom4(f.Src) == from) {
			k++
		}
	}
	return k
}

// openAll opens TCP and UDP flows from a guest and one of ICMP, and returns a
// TCP connection that is open.
func (w *world) openAll(guest *os.File, port int) net.Conn {
	w.t.Helper()
	var open net.Conn
	for _, network := range []string{"tcp", "udp"} {
		for _, ip := range []string{internetIP, internetIP2} {
			c, err := dial(guest, network, fmt.Sprintf("%s:%d", ip, port))
			if err != nil {
				w.t.Fatal(err)
			}
			w.t.Cleanup(func() { c.Close() })
			if network == "tcp" {
				open = c
			}
		}
	}
	if _, err := ping(guest, internetIP); err != nil {
		w.t.Fatal(err)
	}
	return open
}

// echoes reports whether a connection to a server of the world still works.
func echoes(c net.Conn) error {
	c.SetDeadline(time.Now().Add(reachTime))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// checkForgotten checks that both namespaces track nothing to any port but kept.
func (w *world) checkForgotten(n *Network, kept uint16, want int) {
	w.t.Helper()
	for name, ns := range map[string]*os.File{"router": n.router.ns, "host": w.host} {
		other := 0
		for f := range w.tracked(ns) {
			if f.DstPort != kept {
				other++
				w.t.Logf("%s still tracks %+v", name, f)
			}
		}
		if k := w.trackedTo(ns, netip.Addr{}, kept); other != 0 || k != want {
			w.t.Errorf("%s tracks %d flows of the slots that ended and %d of the one that runs, want 0 and %d", name, other, k, want)
		}
	}
}

func TestFlowsGoWithTheSlot(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 81)
	n := w.open(w.config())
	ended, retired, neighbour := w.acquire(n, allow), w.acquire(n, allow), w.acquire(n, allow)
	counted := func() uint32 {
		t.Helper()
		table, err := conntrack.Open(n.router.ns)
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		count, err := table.Count()
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	if k := counted(); k != 0 {
		t.Errorf("the router counts %d flows, and none was opened", k)
	}
	for _, s := range []Slot{ended, retired} {
		w.openAll(w.guest(s), 80)
		for name, ns := range map[string]*os.File{"router": n.router.ns, "host": w.host} {
			if k := w.trackedTo(ns, netip.Addr{}, 80); k == 0 {
				t.Fatalf("the %s tracks nothing: the test shows nothing", name)
			}
		}
	}
	if k, tracked := counted(), w.trackedTo(n.router.ns, netip.Addr{}, 80); int(k) < tracked {
		t.Errorf("the router counts %d flows and tracks %d", k, tracked)
	}
	c := w.openTCP(w.guest(neighbour), 81)
	if err := n.Release(context.Background(), ended.ID); err != nil {
		t.Fatal(err)
	}
	if k := w.trackedTo(n.router.ns, ended.GuestIP, 80); k != 0 {
		t.Errorf("the router tracks %d flows of a released slot", k)
	}
	if err := n.Retire(retired.ID); err != nil {
		t.Fatal(err)
	}
	waitCounts(t, n, Counts{Leased: 1, Namespaces: 1, Links: 1, Rules: 1})
	w.checkForgotten(n, 81, 1)
	if err := echoes(c); err != nil {
		t.Errorf("a neighbour's connection: %v", err)
	}
}

// openTCP opens one connection.
func (w *world) openTCP(guest *os.File, port int) net.Conn {
	w.t.Helper()
	c, err := dial(guest, "tcp", fmt.Sprintf("%s:%d", internetIP, port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func TestFlowsOfManySlotsGoInOnePass(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 81)
	n := w.open(w.config())
	var ended []*slot
	for range 5 {
		s := w.acquire(n, allow)
		w.openAll(w.guest(s), 80)
		ended = append(ended, n.leases.slots[s.ID])
	}
	c := w.openTCP(w.guest(w.acquire(n, allow)), 81)
	// More than the kernel answers to at once.
	flood := w.listenUDP(w.guest(n.pool.public(ended[0], allow)), ":0")
	for port := range 3 * conntrack.DeleteBatch {
		to := &net.UDPAddr{IP: net.ParseIP(internetIP), Port: 1000 + port}
		if _, err := flood.WriteTo([]byte("x"), to); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	if err := n.pool.free(ended...); err != nil {
		t.Fatal(err)
	}
	w.checkForgotten(n, 81, 1)
	if err := echoes(c); err != nil {
		t.Errorf("a neighbour's connection: %v", err)
	}
}

func TestFlowsOfADaemonThatDiedAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 81)
	cfg := w.config()
	first, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	half, orphan, kept := w.acquire(first, allow), w.acquire(first, allow), w.acquire(first, allow)
	w.openAll(w.guest(half), 80)
	w.openAll(w.guest(orphan), 80)
	c := w.openTCP(w.guest(kept), 81)
	// It dies when everything of a slot is gone but what was tracked.
	if err := errors.Join(links.DeleteAll(first.router.ns, first.router.links, []string{half.ID}), namespace.Remove(half.NetNS)); err != nil {
		t.Fatal(err)
	}
	first.abandon()

	second := w.open(cfg)
	if _, err := second.Adopt(context.Background(), []string{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if err := second.tracking.Sweep(); err != nil {
		t.Fatal(err)
	}
	w.checkForgotten(second, 81, 1)
	if err := echoes(c); err != nil {
		t.Errorf("the connection of a slot that was adopted: %v", err)
	}
	// The last to go takes along what the host tracks for the uplink.
	router, err := conntrack.Open(second.router.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	for f := range w.tracked(second.router.ns) {
		if err := router.Delete([]conntrack.Tuple{f, f}); err != nil { // The second time it is gone already.
			t.Fatal(err)
		}
	}
	if err := second.Release(context.Background(), kept.ID); err != nil {
		t.Fatal(err)
	}
	if k := w.trackedTo(w.host, netip.Addr{}, 81); k != 1 {
		t.Fatalf("the host tracks %d flows that the router does not know, want 1", k)
	}
	if err := second.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := w.tracked(w.host); len(left) != 0 {
		t.Errorf("the host tracks %v after the last slot", left)
	}
}

func TestTheHostForgetsWhatTheRouterForgot(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 81)
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	w.openTCP(guest, 80)
	c := w.openTCP(guest, 81)
	router, err := conntrack.Open(n.router.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	for f := range w.tracked(n.router.ns) {
		if f.DstPort == 80 {
			if err := router.Delete([]conntrack.Tuple{f}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := n.tracking.Sweep(); err != nil {
		t.Fatal(err)
	}
	w.checkForgotten(n, 81, 1)
	if err := echoes(c); err != nil {
		t.Errorf("a connection that the router knows: %v", err)
	}
}

package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/slash30"
)

func TestAFlowThatBeganDuringALossWorksAfterTheRepair(t *testing.T) {
	w := newWorld(t)
	n := w.openHealing()
	s := w.acquire(n.Network, allow)
	guest := w.guest(s)
	server := w.listenUDP(w.outer, internetIP+":99")
	client := func() *net.UDPConn { return w.listenUDP(guest, s.GuestIP.String()+":0") }
	w.flowsBeginDuringLosses(n, s.GuestIP, slash30.Far(n.uplinkSubnet(t)), server, client, func(ns *os.File, from netip.Addr) int { return untranslated(t, ns, from) })
}

// flowsBeginDuringLosses loses the rules of the router and of the host that translate sources. A flow that began meanwhile works after the repair,
// although it never pauses: the kernel decides about a translation once, at the first packet. guest and router are the sources of flows before the
// router, and before the host; client opens a socket in the guest; untranslated counts the flows from a source whose answers would go to it.
func (w *world) flowsBeginDuringLosses(n *healing, guest, router netip.Addr, server *net.UDPConn, client func() *net.UDPConn, untranslated func(ns *os.File, from netip.Addr) int) {
	t := w.t
	t.Helper()
	w.alone(n.Network)
	for _, at := range []struct {
		name, table string
		ns          *os.File
		source      netip.Addr
		chains      []string
	}{
		{"router", routerTable, n.router.ns, guest, []string{"postrouting"}},
		{"host", n.uplink.table(), w.host, router, []string{"postrouting", "masqueraded"}},
	} {
		err := filterOf(at.ns, func(conn *nftables.Conn) error {
			for _, chain := range at.chains {
				conn.FlushChain(&nftables.Chain{Name: chain, Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: at.table}})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		c := client()
		for i := 0; untranslated(at.ns, at.source) == 0; i++ {
			if i == 1000 {
				t.Fatalf("%s: no flow is tracked without a translation", at.name)
			}
			if _, err := c.WriteTo([]byte("lost"), server.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		n.calm()
		if lost, err := n.watcher.settle(changes.Depth{Host: true, Router: true}, true); err != nil || len(lost) == 0 {
			t.Fatalf("%s: lost %v, %v", at.name, lost, err)
		}
		if left := untranslated(at.ns, at.source); left > 0 {
			t.Errorf("%s: %d are left", at.name, left)
		}
		arrives := fmt.Sprint("after the repair of the ", at.name)
		buf := make([]byte, 64)
		for i := 0; ; i++ {
			if i == 100 {
				t.Fatalf("%s nothing arrives", arrives)
			}
			if _, err := c.WriteTo([]byte(arrives), server.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if k, _, err := server.ReadFrom(buf); err == nil && string(buf[:k]) == arrives {
				break
			}
		}
		c.Close()
	}
}

// A daemon that did not see the loss does the same: it died before it looked.
func TestTheNextDaemonForgetsUntranslatedFlows(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	server := w.listenUDP(w.outer, internetIP+":99")
	w.alone(n)
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		conn.FlushChain(&nftables.Chain{Name: "postrouting", Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	client := w.listenUDP(w.guest(s), s.GuestIP.String()+":0")
	for i := 0; untranslated(t, n.router.ns, s.GuestIP) == 0; i++ {
		if i == 1000 {
			t.Fatal("no flow is tracked without a translation")
		}
		if _, err := client.WriteTo([]byte("lost"), server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	eventually(t, "it is forgotten", func() bool {
		if _, err := client.WriteTo([]byte("lost"), server.LocalAddr()); err != nil { // A silent flow ends in 30 s anyway.
			t.Fatal(err)
		}
		return untranslated(t, n.router.ns, s.GuestIP) == 0
	})
}

// untranslated counts the flows from an address whose answers would go to that address.
func untranslated(t *testing.T, ns *os.File, source netip.Addr) (k int) {
	t.Helper()
	table, err := conntrack.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	err = table.Each(map[netip.Addr]bool{source: true}, func(orig, reply conntrack.Tuple) {
		if reply.Inverse() == orig {
			k++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

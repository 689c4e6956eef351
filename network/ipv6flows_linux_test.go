package network

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/shares"
)

// each6 visits the flows of IPv6 of a namespace.
func (w *world) each6(ns *os.File, visit func(*netlink.ConntrackFlow)) {
	w.t.Helper()
	w.in(ns, func() error {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET6)
		for _, f := range list {
			visit(f)
		}
		return err
	})
}

// untranslated6 counts the flows of IPv6 from an address whose answers would go to it.
func (w *world) untranslated6(ns *os.File, from netip.Addr) (n int) {
	w.each6(ns, func(f *netlink.ConntrackFlow) {
		if f.Forward.SrcIP.Equal(from.AsSlice()) && f.Reverse.DstIP.Equal(from.AsSlice()) {
			n++
		}
	})
	return n
}

func TestAFlowOfIPv6ThatBeganDuringALossWorksAfterTheRepair(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	n := w.openHealing()
	s := w.acquire(n.Network, allow)
	own := ipv6.At(n.cfg.prefix6(), s.GuestIP)
	server := w.listenUDP(w.outer, in6(internet6, "99"))
	client := func() *net.UDPConn { return w.listenUDP(w.guest(s), in6(own.String(), "0")) }
	w.flowsBeginDuringLosses(n, own, n.uplink.address6(n.uplinkSubnet(t)), server, client, w.untranslated6)
}

// The host forgets flows of IPv6 as those of IPv4: when the router has, and after the router's times.
func TestTheHostForgetsFlowsOfIPv6ThatTheRouterForgot(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	w.serve(w.outer, 81)
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	for _, port := range []string{"80", "81"} {
		c, err := dial(guest, "tcp", in6(internet6, port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for name, ns := range map[string]*os.File{"router": n.router.ns, "host": w.host} {
		w.each6(ns, func(f *netlink.ConntrackFlow) {
			if most := uint32(shares.EstablishedTime.Seconds()); f.TimeOut > most {
				t.Errorf("the %s tracks a silent flow for %d s, want at most %d: %v", name, f.TimeOut, most, f)
			}
		})
	}
	w.in(n.router.ns, func() error {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET6, flowsTo(80))
		return err
	})
	if err := n.tracking.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := w.tracked6(w.host, 80); len(left) != 0 {
		t.Errorf("the host still tracks %v", left)
	}
	for name, ns := range map[string]*os.File{"router": n.router.ns, "host": w.host} {
		if left := w.tracked6(ns, 81); len(left) != 1 {
			t.Errorf("the %s tracks %v, want the flow that both know", name, left)
		}
	}
}

type flowsTo uint16

func (port flowsTo) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	return f.Forward.DstPort == uint16(port)
}

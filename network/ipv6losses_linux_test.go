package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
)

// What is lost of IPv6 closes the way and opens none, and is repaired.
func TestWhatIsLostOfIPv6OpensNothing(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	w.serve(w.host, 80)
	n := w.open(w.config())
	s, other, part := w.acquire(n, allow), w.acquire(n, allow), w.acquire(n, only(internetIP))
	guest := w.guest(s)
	w.serve(w.guest(other), 80)
	w.alone(n)
	neighbour := ipv6.At(n.cfg.prefix6(), other.GuestIP).String()
	inNS := func(ns *os.File, do func() error) func() { return func() { w.in(ns, do) } }
	rulesOf := func(ns *os.File) func() {
		return inNS(ns, func() error {
			list, err := netlink.RuleList(unix.AF_INET6)
			for _, r := range list {
				if r.Table != unix.RT_TABLE_LOCAL && r.Table != unix.RT_TABLE_MAIN {
					err = errors.Join(err, netlink.RuleDel(&r))
				}
			}
			return err
		})
	}
	forgotten := func(ns *os.File) func() {
		return inNS(ns, func() error {
			list, err := netlink.NeighList(0, unix.AF_INET6)
			for _, neighbour := range list {
				if neighbour.IP.Equal(net.ParseIP("fe80::1")) || neighbour.IP.Equal(n.uplink.address6(n.uplink.rec.Subnet).AsSlice()) {
					err = errors.Join(err, netlink.NeighDel(&neighbour))
				}
			}
			return err
		})
	}
	off := func(ns *os.File, link string) func() {
		return inNS(ns, func() error { return namespace.WriteSysctl("ipv6/conf/"+link+"/disable_ipv6", "1") })
	}
	for _, loss := range []struct {
		name  string
		loss  func()
		keeps bool // What is permitted goes on.
		// No change of the daemon's namespace is reported: each look finds it.
		unreported bool
	}{
		{"router's table", func() { w.dropTable(n.router.ns, routerTable) }, false, false},
		{"host's table", func() { w.dropTable(w.host, n.uplink.table()) }, false, false},
		{"both tables", func() { w.dropTable(n.router.ns, routerTable); w.dropTable(w.host, n.uplink.table()) }, false, false},
		{"router's routing rules", rulesOf(n.router.ns), true, false},
		{"host's routing rules", rulesOf(w.host), false, false},
		{"router's end of the uplink", off(n.router.ns, uplinkRouter), false, false},
		{"host's end of the uplink", off(w.host, n.uplink.name()), false, false},
		{"forwarding of the router", inNS(n.router.ns, func() error { return namespace.WriteSysctl("ipv6/conf/all/forwarding", "0") }), false, false},
		{"address of the router", inNS(n.router.ns, func() error {
			link, err := netlink.LinkByName(uplinkRouter)
			if err != nil {
				return err
			}
			return netlink.AddrDel(link, &netlink.Addr{IPNet: settle.IPNet(netip.PrefixFrom(n.uplink.address6(n.uplink.rec.Subnet), 128))})
		}), false, true},
		{"default route of the router", inNS(n.router.ns, func() error {
			return netlink.RouteDel(&netlink.Route{Dst: settle.IPNet(netip.MustParsePrefix("::/0")), Gw: net.ParseIP("fe80::1"), Table: unix.RT_TABLE_MAIN})
		}), false, true},
		{"neighbour of the router on the uplink", forgotten(n.router.ns), false, true},
		{"neighbour of the host on the uplink", forgotten(w.host), false, true},
	} {
		loss.loss()
		for _, addr := range []string{denied6[0], denied6[3], neighbor6, host6, neighbour} {
			for _, network := range []string{"tcp", "udp"} {
				if reachWithin(silence/8, guest, network, in6(addr, "80")) == nil {
					t.Errorf("without the %s: %s to %s passes", loss.name, network, addr)
				}
			}
		}
		if reachWithin(silence/8, w.guest(part), "tcp", in6(internet6, "80")) == nil {
			t.Errorf("without the %s: a slot reaches what its policy does not allow", loss.name)
		}
		if err := reachWithin(silence/8, guest, "tcp", in6(internet6, "80")); err == nil && !loss.keeps {
			t.Errorf("without the %s: the loss makes no difference", loss.name)
		}
		at := changes.Everything
		if loss.unreported {
			at = changes.Depth{}
		}
		if lost, err := n.watcher.settle(at, true); err != nil || len(lost) == 0 {
			t.Errorf("%s: repaired %v, %v", loss.name, lost, err)
		}
		if lost, err := n.watcher.settle(changes.Everything, false); err != nil || len(lost) != 0 {
			t.Errorf("%s: after the repair %v, %v", loss.name, lost, err)
		}
		for _, network := range []string{"tcp", "udp"} {
			if err := reachWithin(silence, guest, network, in6(internet6, "80")); err != nil {
				t.Errorf("%s: after the repair: %v", loss.name, err)
			}
		}
	}
	w.reaches6(guest, in6(internet6, "80"))
}

func (w *world) tracked6(ns *os.File, port uint16) (out []string) {
	w.t.Helper()
	w.in(ns, func() error {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET6)
		for _, f := range list {
			if f.Forward.DstPort == port {
				out = append(out, f.String())
			}
		}
		return err
	})
	return out
}

func TestFlowsOfIPv6EndWithTheirSlot(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n := w.open(w.config())
	s, other := w.acquire(n, allow), w.acquire(n, allow)
	for _, slot := range []Slot{s, other} {
		for _, network := range []string{"tcp", "udp"} {
			c, err := dial(w.guest(slot), network, in6(internet6, "80"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
	count := func(want int) {
		t.Helper()
		for name, ns := range map[string]*os.File{"router": n.router.ns, "host": w.host} {
			if got := w.tracked6(ns, 80); len(got) != want {
				t.Errorf("the %s tracks %d flows, want %d: %v", name, len(got), want, got)
			}
		}
	}
	count(4)
	if err := n.Release(context.Background(), s.ID); err != nil {
		t.Fatal(err)
	}
	count(2)
	n.tracking.Known = func() map[netip.Addr]bool { return nil }
	if err := n.tracking.Sweep(); err != nil {
		t.Fatal(err)
	}
	count(0)
}

func TestASlotHearsThatItsPacketsOfIPv6AreTooLarge(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	n := w.open(w.config())
	const behind = "2a00:1::99"
	w.in(w.outer, func() error { // A router with a narrow link.
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "narrow", 1300
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "wide"}
		if err := errors.Join(netlink.LinkAdd(link), namespace.WriteSysctl("ipv6/conf/all/forwarding", "1"), up("wide"), up("narrow")); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(behind), Mask: net.CIDRMask(128, 128)}, LinkIndex: link.Index})
	})
	for name, p := range map[string]Policy{"open": allow, "limited": only(behind)} {
		if !hears(t, w.guest(w.acquire(n, p)), in6(behind, "9")) {
			t.Errorf("%s: nothing tells the guest that its packets are too large", name)
		}
	}
}

// A slot has one address, and what comes from another is dropped.
func TestASlotUsesItsIPv6AddressOnly(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n := w.open(w.config())
	s, other := w.acquire(n, allow), w.acquire(n, allow)
	guest := w.guest(s)
	w.reaches6(guest, in6(internet6, "80"))
	own := ipv6.At(n.cfg.prefix6(), s.GuestIP)
	for name, addr := range map[string]netip.Addr{
		"its prefix, another slot": ipv6.At(n.cfg.prefix6(), other.GuestIP), "another prefix": ipv6.At(netip.MustParsePrefix("fd00::/96"), s.GuestIP), "global": netip.MustParseAddr("2a00:2::1"),
	} {
		w.in(guest, func() error { return up("eth0", addr.String()+"/128") })
		var err error
		w.in(guest, func() error {
			d := net.Dialer{Timeout: silence, LocalAddr: &net.TCPAddr{IP: addr.AsSlice()}}
			c, e := d.Dial("tcp", in6(internet6, "80"))
			if err = e; e == nil {
				c.Close()
			}
			return nil
		})
		if err == nil {
			t.Errorf("%s: a packet from %v passes", name, addr)
		}
		if got := w.tracked6(n.router.ns, 80); len(got) != 2 {
			t.Errorf("%s: %d flows are tracked, want those of %v: %v", name, len(got), own, got)
		}
	}
}

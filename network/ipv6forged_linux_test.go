package network

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/policies"
)

// Whatever a guest makes of IPv6, it reaches what its policy allows, by the host's address, and nothing else.
func TestForgedPacketsOfIPv6ReachNothing(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	other := w.acquire(n, allow)
	neighbour := w.guest(other)
	own := func(s Slot) netip.Addr { return ipv6.At(n.cfg.prefix6(), s.GuestIP) }
	at := netip.MustParseAddr
	reachable, forbidden := at(internet6), at(internet62)
	outside, across := w.wire(w.outer, "eth0"), w.wire(neighbour, "eth0")
	type delivery struct {
		where string
		wire
	}
	var delivered []delivery
	for name, ns := range map[string]*os.File{"host": w.host, "router": n.router.ns, "neighbour": neighbour} {
		for _, proto := range []int{unix.IPPROTO_UDP, unix.IPPROTO_TCP, unix.IPPROTO_ICMPV6, unix.IPPROTO_NONE, unix.IPPROTO_IPIP, unix.IPPROTO_IPV6} {
			delivered = append(delivered, delivery{name, w.heard(ns, proto)})
		}
	}
	named, tunneled := only(internetIP, internet6), with(only(internetIP, internet6), nil)
	named.Names, tunneled.Proxy = []string{"*"}, policies.UnknownProxy
	for _, c := range []struct {
		name   string
		policy Policy
		to     []netip.Addr // What is reached.
	}{
		{"limited", only(internetIP, internet6), []netip.Addr{reachable}},
		{"open", allow, []netip.Addr{reachable, forbidden}},
		{"named", named, []netip.Addr{reachable}},
		{"IPv4 only", only(internetIP), nil},
		{"every name", byName("*"), nil},
		{"headers", with(allow, secretOfA), nil},
		{"proxy", tunneled, nil},
		{"nothing", deny, nil},
	} {
		s := w.acquire(n, c.policy)
		me := own(s)
		eth := w.wire(w.guest(s), "eth0")
		var router net.HardwareAddr
		w.in(n.router.ns, func() error {
			l, err := netlink.LinkByName(s.ID)
			router = l.Attrs().HardwareAddr
			return err
		})
		before := w.neighbours(n.router.ns)
		// What is reached comes last: its flows use up the share of the slot.
		sources := []netip.Addr{
			own(other), me.Prev(), n.uplink.address6(n.uplink.rec.Subnet), at("fe80::2"), at("::"), at("::1"), at("2a00:2::1"), at("::ffff:10.200.0.2"), at("ff02::1"), at(host6), me,
		}
		targets := []netip.Addr{
			at(host6), at("2001:db8::2"), own(other), own(other).Prev(), me.Prev(), me, n.uplink.address6(n.uplink.rec.Subnet), at("::1"), at("::"), at("fe80::1"),
			at("ff01::1"), at("ff02::1"), at("ff02::2"), at("ff02::1:ff00:1"), at("ff05::2"), at("ff0e::1"), at("::ffff:169.254.169.254"), at("::ffff:9.9.9.9"),
		}
		for _, a := range denied6 {
			targets = append(targets, at(a))
		}
		targets = append(targets, forbidden, reachable)
		var names []string
		what := func(packet string) string {
			_, number, _ := strings.Cut(packet, marked)
			i, err := strconv.Atoi(number[:min(8, len(number))])
			if err != nil || i >= len(names) {
				return "of another slot"
			}
			return names[i]
		}
		leaks, passed := map[string]bool{}, map[netip.Addr]int{}
		for _, from := range sources {
			for _, to := range targets {
				for _, chain := range chains(me, own(other), forbidden) {
					for kind, message := range messages(from, to, me, own(other), forbidden, router) {
						hops := byte(64)
						if kind == "icmp 135" || kind == "icmp 136" || kind == "icmp 137" || kind == "icmp 134" {
							hops = 255
						}
						names = append(names, fmt.Sprintf("%s from %v to %v behind %s", kind, from, to, chain.name))
						proto, b := message(fmt.Sprintf("%s%08d", marked, len(names)-1))
						peer := router
						if to.IsMulticast() {
							last := to.As16()
							peer = append(net.HardwareAddr{0x33, 0x33}, last[12:]...)
						}
						eth.send(t, peer, forged(from, to, hops, proto, b, chain.headers...))
					}
				}
				for _, p := range outside.all() {
					src, dst := netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
					if !strings.Contains(string(p), marked) {
						continue
					}
					if !slices.Contains(c.to, dst) || src != at("2001:db8::2") && src != at(host6) {
						leaks[fmt.Sprintf("%s passes as %v to %v", what(string(p)), src, dst)] = true
					}
					passed[dst]++
				}
				for _, p := range across.all() {
					if strings.Contains(string(p), marked) {
						leaks[what(string(p))+" comes to another slot"] = true
					}
				}
				for _, d := range delivered {
					for _, m := range d.messages() {
						discovery := d.where == "router" && from == me && (m[0] == 135 || m[0] == 136)
						if strings.Contains(m, marked) && !discovery {
							leaks[what(m)+" comes to the "+d.where] = true
						}
					}
				}
			}
		}
		for i, leak := range slices.Sorted(maps.Keys(leaks)) {
			if i == 20 {
				t.Errorf("%s: and %d more", c.name, len(leaks)-i)
				break
			}
			t.Errorf("%s: %s", c.name, leak)
		}
		for _, to := range c.to {
			if passed[to] == 0 {
				t.Errorf("%s: nothing came to %v: the test shows nothing", c.name, to)
			}
		}
		if after := w.neighbours(n.router.ns); !maps.Equal(before, after) {
			t.Errorf("%s: the router's neighbours were %v and are %v", c.name, before, after)
		}
		if err := n.Release(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// neighbours are the addresses that a namespace knows the links of.
func (w *world) neighbours(ns *os.File) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	w.in(ns, func() error {
		list, err := netlink.NeighList(0, unix.AF_INET6)
		for _, n := range list {
			if n.State != netlink.NUD_NOARP {
				out[fmt.Sprint(n.LinkIndex, " ", n.IP)] = n.HardwareAddr.String()
			}
		}
		return err
	})
	return out
}

type chain struct {
	name    string
	headers []header
}

// chains are headers before what a packet carries.
func chains(me, other, forbidden netip.Addr) []chain {
	pad := []byte{0, 1, 4, 0, 0, 0, 0}
	return []chain{
		{"nothing", nil},
		{"hop by hop", []header{extension(0, pad...)}},
		{"router alert", []header{extension(0, 0, 5, 2, 0, 0, 1, 0)}},
		{"destination options", []header{extension(60, pad...)}},
		{"a home address", []header{extension(60, append([]byte{2, 1, 2, 0, 0, 0xc9, 16}, other.AsSlice()...)...)}},
		{"an atomic fragment", []header{fragment(0, false, 7)}},
		{"options and a fragment", []header{extension(0, pad...), extension(60, pad...), fragment(0, false, 8)}},
		{"a later fragment", []header{fragment(64, false, 9)}},
		{"a first fragment", []header{fragment(0, true, 10)}},
		{"routing 0 to the forbidden", []header{routing(0, 1, forbidden)}},
		{"routing 0 to another slot", []header{routing(0, 1, other)}},
		{"routing 0 at its end", []header{routing(0, 0, forbidden)}},
		{"routing 2", []header{routing(2, 1, forbidden)}},
		{"routing 4", []header{routing(4, 1, forbidden)}},
		{"authentication", []header{extension(51, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1)}},
		{"mobility", []header{extension(135, pad...)}},
		{"many", []header{extension(0, pad...), extension(60, pad...), routing(0, 0, me), extension(60, pad...)}},
	}
}

// messages are what a packet carries, with data in it.
func messages(from, to, me, other, forbidden netip.Addr, router net.HardwareAddr) map[string]func(data string) (proto byte, b []byte) {
	out := map[string]func(string) (byte, []byte){
		"udp":     func(d string) (byte, []byte) { return unix.IPPROTO_UDP, udpMessage(from, to, 4000, 80, d) },
		"a query": func(d string) (byte, []byte) { return unix.IPPROTO_UDP, udpMessage(from, to, 4000, 53, d) },
		"tcp":     func(d string) (byte, []byte) { return unix.IPPROTO_TCP, tcpOpening(from, to, 4000, 80, d) },
		"nothing": func(d string) (byte, []byte) { return unix.IPPROTO_NONE, []byte(d) },
		"IPv4":    func(d string) (byte, []byte) { return unix.IPPROTO_IPIP, []byte(d) },
		"IPv6": func(d string) (byte, []byte) {
			return unix.IPPROTO_IPV6, forged(other, forbidden, 64, unix.IPPROTO_UDP, udpMessage(other, forbidden, 1, 80, d))
		},
	}
	target, link := string(forbidden.AsSlice()), "\x02\x01"+string(router)
	about := "\x00\x00\x05\x00" + string(forged(to, from, 64, unix.IPPROTO_UDP, udpMessage(to, from, 80, 4000, "x")))
	for kind, head := range map[byte]string{
		1: about, 2: about, 3: about, 128: "\x00\x07\x00\x01", 129: "\x00\x07\x00\x01", 131: "\x00\x00\x00\x00" + target, 143: "\x00\x00\x00\x00",
		133: "\x00\x00\x00\x00", 134: "\x40\x00\x07\x08" + strings.Repeat("\x00", 8), 137: "\x00\x00\x00\x00" + target + string(me.Prev().AsSlice()),
		135: "\x00\x00\x00\x00" + string(me.Prev().AsSlice()) + link, 136: "\xe0\x00\x00\x00" + string(other.AsSlice()) + link,
	} {
		out[fmt.Sprint("icmp ", kind)] = func(d string) (byte, []byte) { return unix.IPPROTO_ICMPV6, icmpMessage(from, to, kind, head+d) }
	}
	return out
}

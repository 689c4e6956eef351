package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/namespace"
)

// What the outer namespace has of IPv6 for a world with it: two hosts of the internet, a neighbour of the host, and an address of
// each kind that is always denied and a server can have.
const (
	internet6  = "2a00:1::7"
	internet62 = "2a00:1::8"
	neighbor6  = "2600:1::1"
	host6      = "2600:1::2"
)

var denied6 = []string{
	"fd00:ec2::254", "fc00::1", "fec0::1", "64:ff9b::a9fe:a9fe", "64:ff9b::909:909", "64:ff9b:1::a00:1", "2002:909:909::1", "2001::1",
	"2001:db8:5::1", "3fff::1", "100::1", "5f00::1", "::909:909", neighbor6,
}

// withIPv6 gives a world's host a way to the internet of IPv6.
func (w *world) withIPv6() {
	w.t.Helper()
	w.in(w.outer, func() error {
		var addrs []string
		for _, a := range append([]string{internet6, internet62}, denied6...) {
			addrs = append(addrs, a+"/128")
		}
		return up("eth0", append(addrs, "2600:1::9/64")...)
	})
	w.in(w.host, func() error { return up("eth0", host6+"/64") })
	w.way6(true)
}

// way6 adds or takes the host's way to the internet of IPv6.
func (w *world) way6(on bool) {
	w.t.Helper()
	w.in(w.host, func() error {
		value, do := "0", netlink.RouteDel
		if on {
			value, do = "1", netlink.RouteAdd
		}
		if err := namespace.WriteSysctl("ipv6/conf/all/forwarding", value); err != nil {
			return err
		}
		return do(&netlink.Route{Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Gw: net.ParseIP("2001:db8::1")})
	})
}

func in6(addr, port string) string { return net.JoinHostPort(addr, port) }

func (w *world) reaches6(guest *os.File, addr string) {
	w.t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, addr); err != nil {
			w.t.Errorf("%s %s: %v", network, addr, err)
		}
	}
}

func (w *world) refuses6(guest *os.File, addr string) {
	w.t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, addr); !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Errorf("%s %s: %v, want an immediate refusal", network, addr, err)
		}
	}
}

func TestSlotsReachTheInternetByIPv6(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	w.serve(w.host, 80)
	n := w.open(w.config())
	s, other, none := w.acquire(n, allow), w.acquire(n, allow), w.acquire(n, deny)
	guest := w.guest(s)
	w.serve(w.guest(other), 80)
	w.serve(n.router.ns, 80)
	w.reaches6(guest, in6(internet6, "80"))
	w.reaches6(guest, internetIP+":80")
	own := func(s Slot) netip.Addr { return ipv6.At(n.cfg.prefix6(), s.GuestIP) }
	for _, addr := range denied6 {
		if err := reach(w.host, "tcp", in6(addr, "80")); err != nil {
			t.Errorf("the host does not reach %s: %v", addr, err)
		}
		w.refuses6(guest, in6(addr, "80"))
	}
	w.refuses6(guest, in6(host6, "80"))
	if err := reach(w.host, "tcp", in6(host6, "80")); err != nil {
		t.Errorf("the host does not reach itself: %v", err)
	}
	s = w.acquire(n, allow) // The kernel answers a bounded number of packets of a slot.
	guest = w.guest(s)
	for name, addr := range map[string]netip.Addr{
		"other slot": own(other), "own gateway": own(s).Prev(), "other gateway": own(other).Prev(), "router in the host": n.uplink.address6(n.uplink.rec.Subnet),
	} {
		t.Log(name)
		w.refuses6(guest, in6(addr.String(), "80"))
	}
	if err := reach(w.guest(other), "tcp", in6(own(other).String(), "80")); err != nil {
		t.Errorf("the other slot does not reach itself: %v", err)
	}
	w.refuses6(w.guest(none), in6(internet6, "80"))
	// What was refused is recorded for the slot.
	deadline := time.Now().Add(reachTime)
	for {
		list, err := n.Refused(none.ID, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			if to := netip.AddrPortFrom(netip.MustParseAddr(internet6), 80); list[0].To != to {
				t.Errorf("refused %v, want %v", list[0].To, to)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what was refused is not recorded")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestASlotHasNoIPv6WhereTheHostHasNone(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.way6(false)
	w.serve(w.outer, 80)
	cfg := w.config()
	cfg.Ahead = 1
	n := w.open(cfg)
	has := func() error {
		s := w.acquire(n, allow)
		defer n.Release(context.Background(), s.ID)
		return reachWithin(silence, w.guest(s), "tcp", in6(internet6, "80"))
	}
	await := func(ask func() error, want error) {
		t.Helper()
		for deadline := time.Now().Add(reachTime); ; {
			err := ask()
			if errors.Is(err, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%v, want %v", err, want)
			}
		}
	}
	if err := has(); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a slot of a host without IPv6: %v", err)
	}
	w.way6(true)
	await(has, nil)
	kept := w.guest(w.acquire(n, allow))
	w.way6(false)
	await(has, syscall.ENETUNREACH)
	await(func() error { return reachWithin(silence, kept, "tcp", in6(internet6, "80")) }, syscall.ECONNREFUSED)
	w.way6(true)
	await(func() error { return reachWithin(silence, kept, "tcp", in6(internet6, "80")) }, nil)
}

func TestAPolicyOfRangesHoldsForIPv6(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n := w.open(w.config())
	both := only(internetIP, internet6)
	s := w.acquire(n, both)
	guest := w.guest(s)
	w.reaches6(guest, in6(internet6, "80"))
	w.reaches6(guest, internetIP+":80")
	w.refuses6(guest, in6(internet62, "80"))
	flow, err := dial(guest, "tcp", in6(internet6, "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	set := func(p Policy) {
		t.Helper()
		if err := n.SetPolicy(context.Background(), s.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	lives := func() error {
		flow.SetDeadline(time.Now().Add(silence))
		if _, err := flow.Write([]byte("again")); err != nil {
			return err
		}
		_, err := flow.Read(make([]byte, 5))
		return err
	}
	for _, p := range []Policy{only(internet6, internet62), allow, both} {
		set(p)
		if err := lives(); err != nil {
			t.Fatalf("a flow that stays allowed by %v: %v", p, err)
		}
	}
	for name, p := range map[string]Policy{
		"other range": only(internetIP, internet62), "IPv4 only": only(internetIP), "nothing": deny,
		"names": {AllowInternet: true, Names: []string{"*"}},
	} {
		set(p)
		w.refuses6(guest, in6(internet6, "80"))
		t.Log(name)
	}
	set(deny)
	if lives() == nil {
		t.Error("a flow goes on that is not allowed any more")
	}
}

func TestIPv6OfASlotSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n, err := Open(context.Background(), w.config())
	if err != nil {
		t.Fatal(err)
	}
	s := w.acquire(n, only(internetIP, internet6))
	guest := w.guest(s)
	flow, err := dial(guest, "tcp", in6(internet6, "80"))
	if err != nil {
		t.Fatal(err)
	}
	defer flow.Close()
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(context.Background(), []string{s.ID}); err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	if p := *n.leases.slots[s.ID].policy.Load(); !slices.Equal(p.Only, only(internetIP, internet6).Only) {
		t.Errorf("the policy found is %v", p)
	}
	flow.SetDeadline(time.Now().Add(reachTime))
	flow.Write([]byte("again"))
	if _, err := flow.Read(make([]byte, 5)); err != nil {
		t.Errorf("a flow ends with the daemon: %v", err)
	}
	w.reaches6(guest, in6(internet6, "80"))
	w.refuses6(guest, in6(internet62, "80"))
}

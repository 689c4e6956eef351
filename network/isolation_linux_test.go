package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

func TestNoInternetDeniesEverything(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 53)
	w.serve(w.host, 80)
	n := w.open(w.config())
	w.acquire(n, allow) // The way out exists, for others.
	s := w.acquire(n, deny)
	guest := w.guest(s)
	w.serve(guest, 49983)
	targets := []string{internetIP + ":80", resolverIP + ":53", hostIP + ":80"}
	for _, ip := range deniedIPs {
		targets = append(targets, ip+":80")
	}
	for _, target := range targets {
		for _, network := range []string{"tcp", "udp"} {
			if err := reach(guest, network, target); !errors.Is(err, refusal(network)) {
				t.Errorf("%s %s: %v, want an immediate %v", network, target, err, refusal(network))
			}
		}
	}
	c, err := n.DialContext(context.Background(), netip.AddrPortFrom(s.GuestIP, 49983))
	if err != nil {
		t.Fatalf("dial in: %v", err)
	}
	c.Close()
}

func TestSlotsAndRouterAreDenied(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	a, b := w.acquire(n, allow), w.acquire(n, allow)
	w.serve(w.guest(b), 80)
	w.serve(n.router.ns, 80)
	w.serve(w.host, 80)
	link := n.uplinkSubnet(t)
	for name, ip := range map[string]netip.Addr{
		"other slot":        b.GuestIP,
		"own gateway":       a.GuestIP.Prev(),
		"other gateway":     b.GuestIP.Prev(),
		"uplink, near side": slash30.Far(link),
		"uplink, far side":  slash30.Near(link),
	} {
		for _, network := range []string{"tcp", "udp"} {
			addr := netip.AddrPortFrom(ip, 80).String()
			if err := reach(w.guest(a), network, addr); !errors.Is(err, refusal(network)) {
				t.Errorf("%s, %s: %v, want an immediate %v", name, network, err, refusal(network))
			}
		}
	}
}

func (n *Network) uplinkSubnet(t testing.TB) netip.Prefix {
	rec, ok, err := n.uplink.load()
	if err != nil || !ok {
		t.Fatalf("uplink record: %v, %v", ok, err)
	}
	return rec.Subnet
}

func TestOutsiderCannotEnter(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	w.serve(w.guest(s), 80)
	w.serve(n.router.ns, 80)
	link := n.uplinkSubnet(t)
	w.in(w.outer, func() error {
		for _, dst := range []netip.Prefix{link, netip.PrefixFrom(s.GuestIP, 32)} {
			if err := netlink.RouteAdd(&netlink.Route{Dst: settle.IPNet(dst), Gw: net.ParseIP(hostIP)}); err != nil {
				return err
			}
		}
		return nil
	})
	w.alone(n)
	// Even a host that knows the way to the guest does not let others take it.
	w.in(w.host, func() error {
		up, err := netlink.LinkByName(n.uplink.name())
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{
			Dst: settle.IPNet(netip.PrefixFrom(s.GuestIP, 32)), Gw: net.IP(slash30.Far(link).AsSlice()), LinkIndex: up.Attrs().Index, Flags: int(netlink.FLAG_ONLINK),
		})
	})
	server := w.listenUDP(n.router.ns, slash30.Far(link).String()+":99")
	guest := w.listenUDP(w.guest(s), s.GuestIP.String()+":99")
	client := w.listenUDP(w.outer, internetIP+":0")
	host := w.listenUDP(w.host, slash30.Near(link).String()+":0")
	send := func(text string) {
		t.Helper()
		for _, ip := range []netip.Addr{slash30.Far(link), s.GuestIP} {
			if _, err := client.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 99))); err != nil {
				t.Fatal(err)
			}
		}
		// The host itself knows no way to the router.
		if _, err := host.WriteTo([]byte(text), server.LocalAddr()); (err == nil) != (text == "without rules") {
			t.Errorf("%q from the host: %v", text, err)
		}
	}
	send("intruder")
	// Without the filter the way is still closed by routing, and without both the
	// same packets arrive, behind those that were sent before.
	w.dropTable(n.router.ns, routerTable)
	w.dropTable(w.host, n.uplink.table())
	send("without filter")
	w.openRouting(n)
	send("without rules")
	for conn, want := range map[*net.UDPConn]int{server: 2, guest: 1} {
		conn.SetDeadline(time.Now().Add(time.Minute))
		for range want {
			buf := make([]byte, 64)
			k, from, err := conn.ReadFrom(buf)
			if err != nil || string(buf[:k]) != "without rules" {
				t.Errorf("%v got %q from %v, %v", conn.LocalAddr(), buf[:k], from, err)
			}
		}
	}
	if _, err := n.watcher.settle(changes.Depth{Host: true, Router: true}, true); err != nil {
		t.Fatal(err)
	}
}

func TestPublishedPortIsTheHost(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	// As Docker does: the host's port 8080 leads elsewhere.
	conn, err := nftables.New(nftables.WithNetNSFd(int(w.host.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	publish(conn, netip.MustParseAddr(publishedIP), 8080, netip.MustParseAddr(internetIP2), 80)
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	if err := reach(guest, "tcp", internetIP2+":80"); err != nil {
		t.Fatalf("the target itself: %v", err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, publishedIP+":8080"); !errors.Is(err, refusal(network)) {
			t.Errorf("%s: %v, want %v", network, err, refusal(network))
		}
	}
}

func TestPing(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	allowed, refused := w.acquire(n, allow), w.acquire(n, deny)
	for _, tc := range []struct {
		name string
		from Slot
		to   string
		want icmp.Type
	}{
		{"internet", allowed, internetIP, ipv4.ICMPTypeEchoReply},
		{"metadata", allowed, "169.254.169.254", ipv4.ICMPTypeDestinationUnreachable},
		{"name server", allowed, resolverIP, ipv4.ICMPTypeDestinationUnreachable},
		{"host", allowed, hostIP, ipv4.ICMPTypeDestinationUnreachable},
		{"other slot", allowed, refused.GuestIP.String(), ipv4.ICMPTypeDestinationUnreachable},
		{"internet without permission", refused, internetIP, ipv4.ICMPTypeDestinationUnreachable},
	} {
		got, err := ping(w.guest(tc.from), tc.to)
		if err != nil || got != tc.want {
			t.Errorf("%s: %v, %v, want %v", tc.name, got, err, tc.want)
		}
	}
}

// ping sends an echo request and returns the type of the first answer.
func ping(ns *os.File, to string) (icmp.Type, error) {
	var c *icmp.PacketConn
	err := namespace.In(ns, func() (err error) {
		c, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(reachTime))
	msg := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("ping")}}
	b, err := msg.Marshal(nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.WriteTo(b, &net.IPAddr{IP: net.ParseIP(to)}); err != nil {
		return nil, err
	}
	buf := make([]byte, 1500)
	k, _, err := c.ReadFrom(buf)
	if err != nil {
		return nil, err
	}
	answer, err := icmp.ParseMessage(1, buf[:k])
	if err != nil {
		return nil, err
	}
	return answer.Type, nil
}

// listenUDP opens one socket in a namespace, of IPv6 if the address is in brackets.
func (w *world) listenUDP(ns *os.File, addr string) *net.UDPConn {
	w.t.Helper()
	network := "udp4"
	if strings.HasPrefix(addr, "[") {
		network = "udp6"
	}
	var c *net.UDPConn
	w.in(ns, func() error {
		pc, err := net.ListenPacket(network, addr)
		if err == nil {
			c = pc.(*net.UDPConn)
		}
		return err
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// dropTable removes rules, to show that it was they that held.
func (w *world) dropTable(ns *os.File, name string) {
	w.t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		w.t.Fatal(err)
	}
	conn.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	if err := conn.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func TestSpoofedSourceIsDropped(t *testing.T) {
	w := newWorld(t)
	server := w.listenUDP(w.outer, internetIP+":99")
	n := w.open(w.config())
	s, other := w.acquire(n, allow), w.acquire(n, allow)
	guest := w.guest(s)
	forged := []string{other.GuestIP.String(), "10.200.77.2", s.GuestIP.Prev().String(), "9.9.9.77", "198.51.100.8"}
	w.in(guest, func() error {
		addrs := make([]string, len(forged))
		for i, a := range forged {
			addrs[i] = a + "/32"
		}
		return up("lo", addrs...)
	})
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(internetIP + ":99"))
	// The gateway must be resolved before: it does not answer a forged source.
	if _, err := ping(guest, internetIP); err != nil {
		t.Fatal(err)
	}
	for _, source := range append(forged, s.GuestIP.String()) {
		c := w.listenUDP(guest, source+":0")
		if _, err := c.WriteTo([]byte("from "+source), to); err != nil {
			t.Fatalf("send from %s: %v", source, err)
		}
	}
	// Packets of one path stay in order: had a forged one passed, it came first.
	server.SetDeadline(time.Now().Add(reachTime))
	buf := make([]byte, 64)
	k, _, err := server.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(buf[:k]), "from "+s.GuestIP.String(); got != want {
		t.Errorf("first packet to arrive is %q, want %q", got, want)
	}
}

func TestIPv6IsDropped(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	w.alone(n)
	// Even where something turned IPv6 on in the router, the rules hold.
	for _, end := range []struct {
		ns   *os.File
		link string
		addr string
	}{{n.router.ns, s.ID, "2001:db8:1::1/64"}, {guest, "eth0", "2001:db8:1::2/64"}} {
		w.in(end.ns, func() error {
			if err := namespace.WriteSysctl("ipv6/conf/all/disable_ipv6", "0"); err != nil {
				return err
			}
			if err := namespace.WriteSysctl("ipv6/conf/"+end.link+"/disable_ipv6", "0"); err != nil {
				return err
			}
			return up(end.link, end.addr)
		})
	}
	w.in(guest, func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("2001:db8:1::1"), Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}})
	})
	var l net.Listener
	w.in(n.router.ns, func() (err error) {
		l, err = net.Listen("tcp6", "[2001:db8:1::1]:80")
		return err
	})
	defer l.Close()
	go serveTCP(l)
	if err := reachWithin(silence, guest, "tcp", "[2001:db8:1::1]:80"); err == nil {
		t.Error("router reached by IPv6")
	}
	if err := reachWithin(silence, guest, "tcp", "[2001:db8::1]:80"); err == nil {
		t.Error("outside reached by IPv6")
	}
	// Without the rules the same call succeeds: it was they that dropped it.
	w.dropTable(n.router.ns, routerTable)
	if err := reach(guest, "tcp", "[2001:db8:1::1]:80"); err != nil {
		t.Errorf("without rules: %v", err)
	}
	if err := n.rules.reset([]slotRule{{id: s.ID, guest: s.GuestIP, policy: allow}}); err != nil {
		t.Fatal(err)
	}
}

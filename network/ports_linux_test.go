package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/policies"
)

// everywhere is all of the internet, as a policy of ranges.
var everywhere = Policy{AllowInternet: true, Only: policies.Everywhere}

// onPort is a policy with separate ranges on a port.
func onPort(p Policy, port uint16, ranges ...string) Policy {
	p.AllowInternet, p.Ports = true, append(slices.Clone(p.Ports), policies.Port{Port: port, Only: only(ranges...).Only})
	return p
}

// acquireOnPort returns two slots that reach one address of each family on a port, one in each bank.
func (w *world) acquireOnPort(n *Network, port uint16) (a, b Slot) {
	w.t.Helper()
	p := onPort(everywhere, port, internetIP, internet6)
	a, b = w.acquire(n, p), w.acquire(n, only(internetIP2))
	if err := n.SetPolicy(w.t.Context(), b.ID, p); err != nil {
		w.t.Fatal(err)
	}
	return a, b
}

// echoes6 reports whether an address of IPv6 answers an echo request.
func echoes6(guest *os.File, addr string) (answered bool, err error) {
	err = namespace.In(guest, func() error {
		c, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		defer c.Close()
		request, err := (&icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: 7, Data: []byte("echo")}}).Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(request, &net.IPAddr{IP: net.ParseIP(addr)}); err != nil {
			return err
		}
		c.SetDeadline(time.Now().Add(silence))
		buf := make([]byte, 1500)
		for {
			k, _, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if err != nil {
				return err
			}
			switch m, err := icmp.ParseMessage(58, buf[:k]); {
			case err != nil:
				return err
			case m.Type == ipv6.ICMPTypeEchoReply:
				answered = true
				return nil
			case m.Type == ipv6.ICMPTypeDestinationUnreachable:
				return nil
			}
		}
	})
	return answered, err
}

// Each port is tried beside others, of both protocols and both families, and protocols without ports beside them.
func TestAPolicyOfPortsIsWhatItSays(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	for _, port := range []int{22, 25, 443} {
		w.serve(w.outer, port)
	}
	n := w.open(w.config())
	both := []string{internetIP, internet6}
	for _, c := range []struct {
		name   string
		policy Policy
		yes    string // The ports that are reached of the first addresses of both families, and of the others.
		others string
		echoes bool
	}{
		{"a port shut", onPort(everywhere, 25), "22 443", "22 443", true},
		{"a port opened", onPort(Policy{}, 443, both...), "443", "", false},
		{"a port opened beside an address", onPort(only(both...), 443, "0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "22 25 443", "443", true},
		{"an address shut on a port", onPort(everywhere, 22, internetIP2, internet62), "25 443", "22 25 443", true},
		{"several ports", onPort(onPort(onPort(everywhere, 22, both...), 25), 443, internetIP2, internet62), "22", "443", true},
		{"the last port, the first and the last address", onPort(onPort(onPort(only(both...), 25), 443, internetIP, "255.255.255.255", internet6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 65535, "0.0.0.0", "::"), "22 443", "", true},
	} {
		for i, addrs := range [][2]string{{internetIP, internet6}, {internetIP2, internet62}} {
			guest := w.guest(w.acquire(n, c.policy)) // The kernel bounds how many errors one guest gets.
			want, echoes := c.yes, c.echoes
			if i > 0 {
				want, echoes = c.others, c.echoes && c.policy.Covers(netip.AddrPortFrom(netip.MustParseAddr(internetIP2), 0))
			}
			for _, port := range []string{"22", "25", "443"} {
				open := slices.Contains(strings.Fields(want), port)
				for _, addr := range addrs {
					for _, network := range []string{"tcp", "udp"} {
						err := reach(guest, network, in6(addr, port))
						if (err == nil) != open || err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EHOSTUNREACH) {
							t.Errorf("%s: %s %s: %v, want open %v", c.name, network, in6(addr, port), err, open)
						}
					}
				}
			}
			if kind, err := ping(guest, addrs[0]); err != nil || (kind == ipv4.ICMPTypeEchoReply) != echoes {
				t.Errorf("%s: ping %s: %v, %v, want an echo %v", c.name, addrs[0], kind, err, echoes)
			}
			if got, err := echoes6(guest, addrs[1]); err != nil || got != echoes {
				t.Errorf("%s: ping %s: %v, %v, want %v", c.name, addrs[1], got, err, echoes)
			}
		}
	}
}

// datagrams opens a flow of UDP to an address outside. late sends another answer.
func (w *world) datagrams(guest *os.File, addr string) (client net.Conn, late func()) {
	w.t.Helper()
	var server net.PacketConn
	w.in(w.outer, func() (err error) {
		server, err = net.ListenPacket("udp", addr)
		return err
	})
	w.t.Cleanup(func() { server.Close() })
	client, err := rawDial(guest, "udp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { client.Close() })
	if _, err := client.Write([]byte("first")); err != nil {
		w.t.Fatal(err)
	}
	server.SetDeadline(time.Now().Add(reachTime))
	buf := make([]byte, 9)
	_, from, err := server.ReadFrom(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	late = func() {
		if _, err := server.WriteTo([]byte("late"), from); err != nil {
			w.t.Fatal(err)
		}
	}
	late()
	if _, err := client.Read(buf); err != nil {
		w.t.Fatal(err)
	}
	return client, late
}

// Answers to a port that is shut do not come in, and those from one that is open do.
func TestAPortThatIsShutIsCut(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 22)
	w.serve(w.outer, 443)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	for _, addr := range []string{internetIP, internet6} {
		kept, cut := openFlow(t, guest, in6(addr, "443")), openFlow(t, guest, in6(addr, "22"))
		client, late := w.datagrams(guest, in6(addr, "99"))
		for _, f := range []flow{kept, cut} {
			if err := f.ask(reachTime); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.SetPolicy(t.Context(), s.ID, onPort(onPort(everywhere, 22), 99)); err != nil {
			t.Fatal(err)
		}
		if err := cut.ask(100 * time.Millisecond); err == nil {
			t.Errorf("%s: an open connection still passes", addr)
		}
		late()
		client.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if k, err := client.Read(make([]byte, 9)); err == nil {
			t.Errorf("%s: %d bytes received without permission", addr, k)
		}
		if err := kept.ask(reachTime); err != nil {
			t.Errorf("%s: the flow that stays allowed: %v", addr, err)
		}
		if err := n.SetPolicy(t.Context(), s.ID, onPort(Policy{}, 443, internetIP, internet6)); err != nil {
			t.Fatal(err)
		}
		if err := kept.ask(reachTime); err != nil {
			t.Errorf("%s: the flow that stays allowed alone: %v", addr, err)
		}
		if err := n.SetPolicy(t.Context(), s.ID, allow); err != nil {
			t.Fatal(err)
		}
		if err := cut.ask(reachTime); err != nil && addr == internetIP { // Its packets come again; one of IPv6 was reset.
			t.Errorf("%s: a flow that is allowed again: %v", addr, err)
		}
	}
}

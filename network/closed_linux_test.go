package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/settle"
)

// reversePath sets the reverse path filter that the host has for all links, as
// distributions do: 0, 1 (strict) or 2 (loose).
func (w *world) reversePath(value string) {
	w.in(w.host, func() error {
		return errors.Join(namespace.WriteSysctl("ipv4/conf/all/rp_filter", value), namespace.WriteSysctl("ipv4/conf/default/rp_filter", value), namespace.WriteSysctl("ipv4/conf/eth0/rp_filter", value))
	})
}

// alone stops the background work of the network: no loss is repaired any more.
func (w *world) alone(n *Network) {
	n.stop()
	n.background.Wait()
}

// quiet opens a network that nothing looks after, and returns the rules of its router.
func (w *world) quiet() (*Network, *nftRules) {
	w.t.Helper()
	n := w.openHealing()
	w.alone(n.Network)
	return n.Network, n.rules.enforcer.(*nftRules)
}

// openRouting makes both namespaces route everything, as they would without us.
func (w *world) openRouting(n *Network) {
	w.t.Helper()
	everything := netlink.NewRule()
	everything.Priority, everything.Table = 1, unix.RT_TABLE_MAIN
	subnet := n.uplink.rec.Subnet
	err := errors.Join(n.router.links.RuleAdd(everything), n.uplink.removeRoutes(subnet))
	up, e := n.uplink.links.LinkByName(n.uplink.name())
	if err = errors.Join(err, e); err == nil {
		err = n.uplink.links.RouteAdd(&netlink.Route{Dst: settle.IPNet(subnet), LinkIndex: up.Attrs().Index, Scope: unix.RT_SCOPE_LINK})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// The two namespaces are closed each without the other's help: without rules,
// and also where the other one lets everything pass.
func TestEachNamespaceIsClosedWithoutItsRules(t *testing.T) {
	for _, value := range []string{"0", "1", "2"} {
		t.Run("reverse path "+value, func(t *testing.T) {
			w := newWorld(t)
			w.serve(w.outer, 80)
			w.serve(w.host, 80)
			w.reversePath(value)
			n := w.open(w.config())
			s, other := w.acquire(n, allow), w.acquire(n, allow)
			guest := w.guest(s)
			if err := reach(guest, "tcp", internetIP+":80"); err != nil {
				t.Fatalf("internet: %v", err)
			}
			w.alone(n)
			p, targets := w.newProbes(n, other)
			closed := func(when string) {
				t.Helper()
				before := p.sent.Load()
				p.start(targets, s)
				eventually(t, "probes are sent", func() bool { return p.sent.Load() > before+2000 })
				p.end()
				p.check(t, when)
				if k := p.arrivals("udp to " + internetIP); k != 0 {
					t.Errorf("%s: %d packets reach the internet", when, k)
				}
			}
			w.dropTable(n.router.ns, routerTable)
			closed("without the router's rules")
			if _, err := n.rules.settle(true); err != nil {
				t.Fatal(err)
			}
			if err := n.rules.setOwn(nil); err != nil { // The router does not know the host.
				t.Fatal(err)
			}
			w.dropTable(w.host, n.uplink.table())
			closed("without the host's rules")
			if _, err := n.watcher.settle(changes.Depth{Host: true, Router: true}, true); err != nil {
				t.Fatal(err)
			}
			if err := reach(guest, "tcp", internetIP+":80"); err != nil {
				t.Errorf("internet, repaired: %v", err)
			}
		})
	}
}

// BenchmarkLook is what a look costs each second while nothing changes, and when
// a namespace has reported changes.
func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	n := w.open(w.config())
	for range 100 {
		w.acquire(n, allow)
	}
	w.alone(n)
	for name, at := range map[string]changes.Depth{"quiet": {}, "after changes": {Host: true, Router: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if lost, err := n.watcher.settle(at, true); lost != nil || err != nil {
					b.Fatal(lost, err)
				}
			}
		})
	}
}

// Packets that the host sends to guests on its own initiative arrive although the way to them is
// closed: a packet that is too big, an answer of its name server.
func TestTheHostsOwnAnswersReachAGuest(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.host, 53)
	w.serve(w.host, 80)
	cfg := w.config()
	cfg.Nameservers = []netip.Addr{netip.MustParseAddr(hostPrivate)}
	n := w.open(cfg)
	guest := w.guest(w.acquire(n, allow))
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, hostPrivate+":53"); err != nil {
			t.Errorf("name server of the host, %s: %v", network, err)
		}
		if err := reachWithin(silence, guest, network, hostPrivate+":80"); err == nil {
			t.Errorf("another port of the host's name server is reached, %s", network)
		}
	}
	const mtu = 1300
	w.narrow(mtu)
	var c net.Conn
	w.in(guest, func() (err error) {
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			e := raw.Control(func(fd uintptr) {
				err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
			})
			return errors.Join(e, err)
		}}
		c, err = d.DialContext(context.Background(), "udp4", internetIP+":80")
		return err
	})
	defer c.Close()
	eventually(t, "the guest learns how big a packet may be", func() bool {
		_, err := c.Write(make([]byte, mtu))
		return errors.Is(err, unix.EMSGSIZE)
	})
}

// A guest is not redirected when the host redirects what goes to the internet, as
// to a transparent proxy, also without the forward rules.
func TestARedirectedAddressIsClosedByRouting(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	err := filterOf(w.host, func(conn *nftables.Conn) error {
		publish(conn, netip.MustParseAddr(internetIP2), 8080, netip.MustParseAddr(deniedIPs[0]), 80)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	w.alone(n)
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: n.uplink.table()}
	err = filterOf(w.host, func(conn *nftables.Conn) error {
		conn.FlushChain(&nftables.Chain{Name: "forward", Table: table})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP2+":80"); err != nil {
			t.Errorf("%s: another port of the address: %v", network, err)
		}
		if err := reachWithin(silence, guest, network, internetIP2+":8080"); err == nil {
			t.Errorf("%s: a guest is redirected", network)
		}
	}
	// Without the rule that takes the permission back, it is.
	err = filterOf(w.host, func(conn *nftables.Conn) error {
		rules, err := conn.GetRules(table, &nftables.Chain{Name: "answers", Table: table})
		if err != nil {
			return err
		}
		return conn.DelRule(rules[len(rules)-2]) // The first of IPv4.
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP2+":8080"); err != nil {
			t.Errorf("%s: the test shows nothing: %v", network, err)
		}
	}
}

// Some firewalls drop packets that come in by another link than the way back, by
// their own rules, which check the mark.
func TestAFirewallThatChecksReversePathsLetsGuestsOut(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	err := filterOf(w.host, func(conn *nftables.Conn) error {
		b := nft.Replace(conn, "rpfilter")
		after := nftables.ChainPriority(*nftables.ChainPriorityMangle + 10)
		b.Add(&nftables.Chain{
			Name: "rpfilter", Table: b.Ref, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &after,
		}, [][]expr.Any{nft.Rule(nft.IsIPv4(), []expr.Any{
			&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagMARK: true, FlagIIF: true, FlagPRESENT: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}},
		}, nft.Drop())})
		return b.Err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := w.open(w.config())
	if err := reach(w.guest(w.acquire(n, allow)), "tcp", internetIP+":80"); err != nil {
		t.Error(err)
	}
}

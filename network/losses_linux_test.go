package network

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/nftables"
	mnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// loss is one thing that another program, or somebody, does to the network.
type loss struct {
	name  string
	cause func() error
}

func filterOf(ns *os.File, change func(*nftables.Conn) error) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	if err := change(conn); err != nil {
		return err
	}
	return conn.Flush()
}

// allLosses is what make soak asks for.
var allLosses = flag.Bool("all-losses", false, "delete each rule in turn, not some of them")

// lossesOfATable is how many a run takes otherwise.
const lossesOfATable = 8

// ruleLosses deletes each rule and each chain of a table, and the elements of
// each set that does not count, one at a time, as it was when they were listed.
func ruleLosses(t *testing.T, where string, ns *os.File, name string) []loss {
	t.Helper()
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	var out []loss
	list := func(conn *nftables.Conn) (chains []*nftables.Chain, err error) {
		all, err := conn.ListChainsOfTableFamily(table.Family)
		return slices.DeleteFunc(all, func(c *nftables.Chain) bool { return c.Table.Name != name }), err
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	chains, err := list(conn)
	if err != nil || len(chains) == 0 {
		t.Fatalf("chains of %s: %v, %v", name, chains, err)
	}
	sets, err := conn.GetSets(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		if !s.Dynamic {
			out = append(out, loss{where + ", set " + s.Name, func() error {
				return filterOf(ns, func(conn *nftables.Conn) error { conn.FlushSet(s); return nil })
			}})
		}
	}
	for _, c := range chains {
		rules, err := rulesOf(ns, c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rules {
			out = append(out, loss{fmt.Sprintf("%s, rule %d of %s", where, i, c.Name), func() error {
				rules, err := rulesOf(ns, c)
				if err != nil {
					return err
				}
				return filterOf(ns, func(conn *nftables.Conn) error { return conn.DelRule(rules[i]) })
			}})
		}
		if c.Hooknum != nil {
			out = append(out, loss{where + ", chain " + c.Name, func() error {
				return filterOf(ns, func(conn *nftables.Conn) error { conn.FlushChain(c); conn.DelChain(c); return nil })
			}})
		}
	}
	if *allLosses {
		return out
	}
	// Three hundred take a quarter of an hour, and each is a case of its kind: a run takes some by chance, make soak all.
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), lossesOfATable)]
}

// rulesOf lists the rules of a chain. The library cannot read all that they say, so UserData has that as the kernel sends it.
func rulesOf(ns *os.File, c *nftables.Chain) (out []*nftables.Rule, err error) {
	conn, err := nft.Dial(ns)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	b, err := mnl.MarshalAttributes([]mnl.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(c.Table.Name + "\x00")}, {Type: unix.NFTA_RULE_CHAIN, Data: []byte(c.Name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	answers, err := conn.Execute(mnl.Message{
		Header: mnl.Header{Type: mnl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE), Flags: mnl.Request | mnl.Dump},
		Data:   append([]byte{byte(c.Table.Family), unix.NFNETLINK_V0, 0, 0}, b...),
	})
	for _, m := range answers {
		attrs, e := mnl.UnmarshalAttributes(m.Data[4:])
		err = errors.Join(err, e)
		rule := &nftables.Rule{Table: c.Table, Chain: c}
		for _, a := range attrs {
			switch a.Type &^ unix.NLA_F_NESTED {
			case unix.NFTA_RULE_HANDLE:
				rule.Handle = binary.BigEndian.Uint64(a.Data)
			case unix.NFTA_RULE_EXPRESSIONS:
				rule.UserData = a.Data
			}
		}
		if rule.Handle != 0 { // The end of the list has none.
			out = append(out, rule)
		}
	}
	return out, err
}

// sharesTable is the name of the table of shares of flows.
func (n *Network) sharesTable() string {
	r := n.rules.enforcer.(*nftRules)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flows.Table
}

// losses are all that the test can think of, each undone by a repair.
func losses(t *testing.T, w *world, n *Network, s Slot) []loss {
	t.Helper()
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable}
	host, router, up := n.uplink.links, n.router.links, n.uplink.name()
	on := func(h *netlink.Handle, name string, do func(netlink.Link) error) func() error {
		return func() error {
			link, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			return do(link)
		}
	}
	noAddress := func(h *netlink.Handle, name string) func() error {
		return on(h, name, func(l netlink.Link) error {
			addrs, err := h.AddrList(l, unix.AF_INET)
			if err != nil {
				return err
			}
			return h.AddrDel(l, &addrs[0])
		})
	}
	sysctl := func(ns *os.File, pairs ...string) func() error {
		return func() error {
			return namespace.In(ns, func() error {
				for i := 0; i < len(pairs); i += 2 {
					if err := namespace.WriteSysctl(pairs[i], pairs[i+1]); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	noRules := func(h *netlink.Handle, spare int) func() error {
		return func() error {
			rules, err := h.RuleList(unix.AF_INET)
			if err != nil {
				return err
			}
			for _, r := range rules {
				if r.Table == unix.RT_TABLE_LOCAL || spare == r.Priority {
					continue
				}
				if err := h.RuleDel(&r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	element := func(set nftables.Set, e []nftables.SetElement) func() error {
		return func() error {
			return filterOf(n.router.ns, func(conn *nftables.Conn) error {
				set.Table = table
				return conn.SetDeleteElements(&set, e)
			})
		}
	}
	rule := slotRule{id: s.ID, guest: s.GuestIP, policy: allow}
	out := []loss{
		{"the host's rules are flushed", func() error {
			return filterOf(w.host, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil })
		}},
		{"the router's rules are flushed", func() error {
			return filterOf(n.router.ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil })
		}},
		{"both are flushed", func() error {
			for _, ns := range []*os.File{w.host, n.router.ns} {
				if err := filterOf(ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil }); err != nil {
					return err
				}
			}
			return nil
		}},
		{"our table of the host is deleted", func() error { w.dropTable(w.host, n.uplink.table()); return nil }},
		{"the router's table is deleted", func() error { w.dropTable(n.router.ns, routerTable); return nil }},
		{"the slot's source is deleted", element(memberSet(setSources), rule.members()[setSources])},
		{"the slot's permission is deleted", element(memberSet(setInternet), rule.members()[setInternet])},
		{"the link is deleted at the host", on(host, up, host.LinkDel)},
		{"the link is deleted at the router", on(router, uplinkRouter, router.LinkDel)},
		{"the link is down at the host", on(host, up, host.LinkSetDown)},
		{"the link is down at the router", on(router, uplinkRouter, router.LinkSetDown)},
		{"the link has no address at the host", noAddress(host, up)},
		{"the link has no address at the router", noAddress(router, uplinkRouter)},
		{"the slot's link has no address", noAddress(router, s.ID)},
		{"the slot's link is down", on(router, s.ID, router.LinkSetDown)},
		{"where refused packets go is deleted", on(router, refusedLink, router.LinkDel)},
		{"forwarding is reset", sysctl(w.host, "ipv4/ip_forward", "1", "ipv4/ip_forward", "0")},
		{"forwarding is off in the router", sysctl(n.router.ns, "ipv4/ip_forward", "0")},
		{"the router looks at no marks", sysctl(n.router.ns, "ipv4/conf/all/src_valid_mark", "0")},
		{"the link's mark is not looked at", sysctl(w.host, "ipv4/conf/"+up+"/src_valid_mark", "0")},
		{"the host's routing rules are deleted", noRules(host, 32766)},
		{"the router's routing rules are deleted", noRules(router, -1)},
		{"the router's default route is deleted", func() error {
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			return router.RouteDel(&netlink.Route{Dst: settle.IPNet(all), Gw: slash30.Near(n.uplinkSubnet(t)).AsSlice()})
		}},
		{"the host has an open way to the router", on(host, up, func(l netlink.Link) error {
			subnet := n.uplinkSubnet(t)
			closed := host.RouteDel(&netlink.Route{Dst: settle.IPNet(subnet), Type: unix.RTN_BLACKHOLE})
			return errors.Join(closed, host.RouteAdd(&netlink.Route{Dst: settle.IPNet(subnet), LinkIndex: l.Attrs().Index, Scope: unix.RT_SCOPE_LINK}))
		})},
		{"the host's closed route is deleted", func() error {
			return host.RouteDel(&netlink.Route{Dst: settle.IPNet(n.uplinkSubnet(t)), Type: unix.RTN_BLACKHOLE})
		}},
	}
	shares := n.sharesTable()
	out = append(out, loss{"the table of shares is deleted", func() error { w.dropTable(n.router.ns, shares); return nil }})
	out = append(out, ruleLosses(t, "shares", n.router.ns, shares)...)
	out = append(out, ruleLosses(t, "host", w.host, n.uplink.table())...)
	return append(out, ruleLosses(t, "router", n.router.ns, routerTable)...)
}

package network

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/ranges"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// A daemon of an earlier version routed everything, gave the link's subnet a
// route of the kernel's own, and permitted nothing by marks. Its sandboxes go on
// under this one, which closes what was open.
func TestOpenClosesWhatAnEarlierVersionLeftOpen(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	cfg := w.config()
	first, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := w.acquire(first, allow)
	w.alone(first)
	subnet, up := first.uplink.rec.Subnet, first.uplink.name()
	err = errors.Join(
		settleAs(first.router.links, []netlink.Rule{{Priority: 32766, Table: unix.RT_TABLE_MAIN}, {Priority: 32767, Table: unix.RT_TABLE_DEFAULT}}),
		links.Delete(first.router.links, refusedLink),
		first.uplink.removeRoutes(subnet),
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := settle.Address(first.uplink.links, up, netip.PrefixFrom(slash30.Near(subnet), slash30.Bits), 0, true); err != nil {
		t.Fatal(err)
	}
	table := func(name string) *nftables.Table {
		return &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	}
	for _, chain := range []struct {
		in   func(func(*nftables.Conn) error) error
		name string
		list []string
	}{
		{func(f func(*nftables.Conn) error) error { return filterOf(w.host, f) }, first.uplink.table(), []string{"permit", "answers"}},
		{func(f func(*nftables.Conn) error) error { return filterOf(first.router.ns, f) }, routerTable, []string{"permit"}},
	} {
		err := chain.in(func(conn *nftables.Conn) error {
			for _, name := range chain.list {
				c := &nftables.Chain{Name: name, Table: table(chain.name)}
				conn.FlushChain(c)
				conn.DelChain(c)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = namespace.In(w.host, func() error {
		return errors.Join(namespace.WriteSysctl("ipv4/conf/"+up+"/rp_filter", "0"), namespace.WriteSysctl("ipv4/conf/"+up+"/src_valid_mark", "0"))
	})
	if err != nil {
		t.Fatal(err)
	}
	guest := w.guest(s)
	if err := reach(guest, "tcp", internetIP+":80"); err != nil {
		t.Fatalf("as it was: %v", err)
	}
	first.abandon()

	second := w.open(cfg)
	if lost, err := second.Adopt(context.Background(), []string{s.ID}); err != nil || lost != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	second.watcher.mu.Lock()
	lost, err := second.watcher.settle(changes.Depth{Host: true, Router: true}, false)
	second.watcher.mu.Unlock()
	if lost != nil || err != nil {
		t.Errorf("not closed: %v, %v", lost, err)
	}
	if err := reach(guest, "tcp", internetIP+":80"); err != nil {
		t.Errorf("internet: %v", err)
	}
	if back, err := second.uplink.links.RouteGet(netip.Addr(slash30.Far(subnet)).AsSlice()); err == nil {
		t.Errorf("the host has a way to the router for everything: %v", back)
	}
}

// settleAs makes a namespace's routing rules those given, beside the local one.
func settleAs(h *netlink.Handle, rules []netlink.Rule) error {
	_, err := settle.Rules(h, true, rules, func(r netlink.Rule) bool { return r.Table != unix.RT_TABLE_LOCAL })
	return err
}

// A table of an earlier version, and one that another program has put half a range in, are read all the same.
func TestTablesOfOthersAreRead(t *testing.T) {
	for name, write := range map[string]func(conn *nftables.Conn, rules []slotRule) error{
		"without ranges": func(conn *nftables.Conn, rules []slotRule) error {
			b := nft.Replace(conn, routerTable)
			for _, set := range []string{setSources, setInternet} {
				var members []nftables.SetElement
				for _, rule := range rules {
					members = append(members, rule.members()[set]...)
				}
				b.Set(memberSet(set), members)
			}
			return b.Err
		},
		"half a range": func(conn *nftables.Conn, _ []slotRule) error {
			set := memberSet(ranges.InBank(ranges.Reach, 0))
			return conn.SetAddElements(&set, nft.Pair(netip.MustParseAddr("10.200.9.9"), only(internetIP).Only[0])[:1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cfg := w.config()
			first, err := Open(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			open, closed := w.acquire(first, allow), w.acquire(first, deny)
			w.alone(first)
			rules := first.rules.enforcer.(*nftRules)
			err = filterOf(first.router.ns, func(conn *nftables.Conn) error {
				return write(conn, []slotRule{rules.have[open.ID], rules.have[closed.ID]})
			})
			if err != nil {
				t.Fatal(err)
			}
			first.abandon()
			n := w.open(cfg)
			if lost, err := n.Adopt(context.Background(), []string{open.ID, closed.ID}); err != nil || len(lost) > 0 {
				t.Fatalf("lost %v, %v", lost, err)
			}
			got, err := n.rules.recover()
			if err != nil || !got[open.ID].Equal(allow) || !got[closed.ID].Equal(deny) {
				t.Errorf("in force: %v, %v", got, err)
			}
		})
	}
}

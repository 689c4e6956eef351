package network

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/ranges"
)

// What a daemon finds of ports is what was in force, in either bank.
func TestPortsSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.named(map[string][]string{"a.example": {internetIP}})
	w.serve(w.outer, 22)
	n := w.open(w.config())
	list := []Policy{
		onPort(onPort(everywhere, 22), 443, internetIP, internet6), onPort(Policy{}, 22, internetIP2, "198.51.100.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
		onPort(onPort(only(internetIP), 1, "0.0.0.0-9.9.9.9"), 65535), everywhere,
	}
	var slots []Slot
	for _, p := range list {
		a, b := w.acquire(n, p), w.acquire(n, only(internetIP2))
		if err := n.SetPolicy(t.Context(), b.ID, p); err != nil {
			t.Fatal(err)
		}
		slots = append(slots, a, b)
	}
	names := byName("a.example:8081")
	s := w.acquire(n, names)
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	f, kept := openFlow(t, guest, internetIP+":8081"), openFlow(t, w.guest(slots[2]), internetIP+":22")
	n.abandon()
	n = w.open(w.config())
	ids := []string{s.ID}
	for _, s := range slots {
		ids = append(ids, s.ID)
	}
	if lost, err := n.Adopt(t.Context(), ids); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	for i, s := range slots {
		if got := *n.leases.slots[s.ID].policy.Load(); !got.Equal(list[i/2]) {
			t.Errorf("%v, want %v", got, list[i/2])
		}
	}
	if err := n.SetPolicy(t.Context(), s.ID, names); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.ask(reachTime), kept.ask(reachTime), reach(guest, "udp", internetIP+":8081")); err != nil {
		t.Errorf("a flow ends with the daemon: %v", err)
	}
	if err := reach(guest, "udp", internetIP+":22"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("another port of the name: %v", err)
	}
	for _, id := range ids {
		if err := n.Release(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	rules := n.rules.enforcer.(*nftRules)
	for _, set := range memberSets() {
		if left, err := rules.read(set.Name); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", set.Name, left, err)
		}
	}
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("the rules are not what they should be: %v", err)
	}
}

// A table without ports, as an earlier version makes it, is read as what it says. One whose ports another program has deleted
// reaches nothing until it is known what it should be.
func TestPortsOfEarlierTables(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	ported, plain := w.acquire(n, onPort(everywhere, 25)), w.acquire(n, only(internetIP))
	named := w.acquire(n, Policy{AllowInternet: true, Only: only(internetIP).Only, Names: []string{"a.example"}})
	check := func(what string, want map[string]Policy) {
		t.Helper()
		got, err := rules.recover()
		if err != nil {
			t.Fatal(err)
		}
		for id, p := range want {
			if !got[id].Equal(p) {
				t.Errorf("%s: %v, want %v", what, got[id], p)
			}
		}
	}
	unknown := only(internetIP)
	unknown.Names = policies.UnknownNames
	check("as it is", map[string]Policy{ported.ID: onPort(everywhere, 25), plain.ID: only(internetIP), named.ID: unknown})
	part := rules.have[ported.ID].members()[ranges.InBank(ranges.Ports, 0)]
	for name, c := range map[string]struct {
		set  string
		lost []nftables.SetElement
	}{"some ports": {ranges.InBank(ranges.Ports, 0), part[2:]}, "all of a slot": {ranges.InBank(ranges.Ports, 0), part}} {
		err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
			set := memberSet(c.set)
			return conn.SetDeleteElements(&set, c.lost)
		})
		if err != nil {
			t.Fatal(err)
		}
		check(name, map[string]Policy{ported.ID: {}, plain.ID: only(internetIP), named.ID: unknown})
		if lost, err := rules.settle(true); !lost || err != nil {
			t.Fatalf("%s: lost %v, %v", name, lost, err)
		}
	}
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		b := nft.Replace(conn, routerTable)
		for _, set := range memberSets() {
			if name := strings.TrimRight(set.Name, "01"); name == ranges.Ports || name == ranges.PortReach || name == ranges.PortReach6 || name == setBoundPort {
				continue
			}
			var members []nftables.SetElement
			for _, rule := range rules.have {
				members = append(members, rule.members()[set.Name]...)
			}
			b.Set(set, members)
		}
		return b.Err
	})
	if err != nil {
		t.Fatal(err)
	}
	check("an earlier version's", map[string]Policy{ported.ID: everywhere, plain.ID: only(internetIP), named.ID: unknown})
}

// Whatever of a policy of ports another program deletes, nothing more is open, and it comes back.
func TestALostPortOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 25)
	w.serve(w.outer, 443)
	n, rules := w.quiet()
	s := w.acquire(n, onPort(everywhere, 25, internetIP2, internet62))
	members := rules.have[s.ID].members()
	reached := func(guest *os.File) (list []string) {
		for _, to := range []string{internetIP + ":25", internetIP2 + ":25", in6(internet6, "25"), in6(internet62, "25"), internetIP + ":443", in6(internet6, "443")} {
			if reach(guest, "tcp", to) == nil {
				list = append(list, to)
			}
		}
		return list
	}
	guest := w.guest(s)
	all := reached(guest)
	if len(all) != 4 {
		t.Fatalf("reached %v", all)
	}
	for _, name := range []string{ranges.InBank(setLimited, 0), ranges.InBank(ranges.Reach, 0), ranges.InBank(ranges.Reach6, 0), ranges.InBank(ranges.Ports, 0), ranges.InBank(ranges.PortReach, 0), ranges.InBank(ranges.PortReach6, 0)} {
		if len(members[name]) == 0 {
			t.Fatalf("no members of %s", name)
		}
		step := 2 // A range.
		if name == ranges.InBank(setLimited, 0) {
			step = 1
		}
		for part := range slices.Chunk(members[name], step) {
			err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
				set := memberSet(name)
				return conn.SetDeleteElements(&set, part)
			})
			if err != nil {
				t.Fatal(err)
			}
			left := reached(guest)
			if len(left) >= len(all) && !(name == ranges.InBank(ranges.Ports, 0) && len(left) == len(all)) || len(slices.DeleteFunc(left, func(to string) bool { return slices.Contains(all, to) })) > 0 {
				t.Errorf("without %x of %s: %v", part[0].Key, name, left)
			}
			if lost, err := rules.settle(true); !lost || err != nil {
				t.Errorf("without %s: lost %v, %v", name, lost, err)
			}
			if again := reached(guest); !slices.Equal(again, all) {
				t.Errorf("with %s again: %v", name, again)
			}
		}
	}
}

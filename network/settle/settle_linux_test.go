package settle

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

// newNamespace makes a namespace with a link pair a and b.
func newNamespace(t *testing.T) (*os.File, *netlink.Handle) {
	t.Helper()
	ns := namespacetest.New(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "a"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "b"})
	})
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return ns, h
}

// check breaks something, if it is not nil, and expects it to be lost until it is mended.
func check(t *testing.T, name string, breakIt func() error, step func(mend bool) (bool, error)) {
	t.Helper()
	if breakIt != nil {
		if err := breakIt(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for i, c := range []struct{ mend, want bool }{{false, true}, {false, true}, {true, true}, {true, false}, {false, false}} {
		if lost, err := step(c.mend); err != nil || lost != c.want {
			t.Fatalf("%s, step %d: lost %v, %v, want %v", name, i, lost, err, c.want)
		}
	}
}

func TestWhatIsLostIsCheckedAndMended(t *testing.T) {
	ns, h := newNamespace(t)
	link, err := h.LinkByName("a")
	if err != nil {
		t.Fatal(err)
	}
	addr := func(s string) *netlink.Addr { return &netlink.Addr{IPNet: IPNet(netip.MustParsePrefix(s))} }

	address := func(mend bool) (bool, error) { return Address(h, "a", netip.MustParsePrefix("10.1.0.1/30"), 0, mend) }
	check(t, "a new link", nil, address)
	check(t, "no address", func() error { return h.AddrDel(link, addr("10.1.0.1/30")) }, address)
	check(t, "one more address", func() error { return h.AddrAdd(link, addr("10.2.0.1/24")) }, address)
	check(t, "link down", func() error { return h.LinkSetDown(link) }, address)
	if _, err := Address(h, "missing", netip.MustParsePrefix("10.1.0.1/30"), 0, true); err == nil {
		t.Error("no error for a link that is missing")
	}

	closed := &netlink.Route{Dst: IPNet(netip.MustParsePrefix("10.3.0.0/16")), Type: unix.RTN_BLACKHOLE}
	check(t, "a new route", nil, Route(h, closed))
	check(t, "no route", func() error { return h.RouteDel(closed) }, Route(h, closed))

	mask := uint32(1)
	want := []netlink.Rule{
		{Priority: 100, Table: 10, Mark: 1, Mask: &mask},
		{Priority: 101, Table: 11, IifName: "lo", IPProto: unix.IPPROTO_UDP, Sport: netlink.NewRulePortRange(53, 53)},
	}
	rule := func(priority, table int) *netlink.Rule {
		r := netlink.NewRule()
		r.Priority, r.Table = priority, table
		return r
	}
	foreign := rule(200, 20)
	rules := func(mend bool) (bool, error) {
		return Rules(h, mend, want, func(r netlink.Rule) bool { return r.Table == 10 || r.Table == 11 })
	}
	check(t, "new rules", func() error { return h.RuleAdd(foreign) }, rules)
	check(t, "a rule less", func() error {
		r := rule(100, 10)
		r.Mark, r.Mask = 1, &mask
		return h.RuleDel(r)
	}, rules)
	check(t, "a rule more", func() error { return h.RuleAdd(rule(102, 10)) }, rules)
	have, err := h.RuleListFiltered(unix.AF_INET, foreign, netlink.RT_FILTER_TABLE)
	if err != nil || len(have) != 1 {
		t.Errorf("of the rule that is not ours there are %v, %v", have, err)
	}

	const key = "ipv4/conf/a/forwarding"
	sysctls := func(mend bool) (bool, error) {
		return Sysctls(ns, mend, map[string]string{key: "1", "ipv4/conf/missing/forwarding": "1"})
	}
	check(t, "a switch", func() error {
		return namespace.In(ns, func() error { return namespace.WriteSysctl(key, "0") })
	}, sysctls)

	order := ""
	failed := errors.New("failed")
	_, err = Each(true,
		func(bool) (bool, error) { order += "1"; return false, nil },
		func(bool) (bool, error) { order += "2"; return true, failed },
		func(bool) (bool, error) { order += "3"; return false, nil })
	if order != "12" || !errors.Is(err, failed) {
		t.Errorf("steps %s are done, %v; want none after the one that fails", order, err)
	}
}

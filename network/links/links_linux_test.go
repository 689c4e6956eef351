package links

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

func TestLinksAreMadeListedAndDeleted(t *testing.T) {
	ns := namespacetest.New(t, func() error { return nil })
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if index, err := SettleSink(h, "sink", "sink1", false); err != nil || index >= 0 {
		t.Errorf("a sink that is not there has index %d, %v", index, err)
	}
	made, err := SettleSink(h, "sink", "sink1", true)
	must(err)
	if index, err := SettleSink(h, "sink", "sink1", false); err != nil || index != made {
		t.Errorf("the sink has index %d, %v, want %d", index, err, made)
	}
	for name, addr := range map[string]string{"s-a": "10.0.0.1", "s-b": "10.0.0.5"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		must(h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "1"}))
		must(BringUp(h, name, netip.MustParseAddr(addr)))
		must(BringUp(h, name+"1", netip.Addr{}))
		must(AwaitUp(h, name))
	}
	kind := func(name string) bool { return strings.HasPrefix(name, "s-") && len(name) == 3 }
	list := func(want int) {
		t.Helper()
		got, err := Subnets(h, kind)
		must(err)
		if len(got) != want {
			t.Errorf("%v, want %d links", got, want)
		}
		if p, ok := got["s-b"]; ok && p != netip.MustParsePrefix("10.0.0.4/30") {
			t.Errorf("s-b has %v", p)
		}
	}
	list(2)
	p, err := FreeSubnet(h, netip.MustParsePrefix("10.0.0.0/28"), "name")
	must(err)
	if p.Overlaps(netip.MustParsePrefix("10.0.0.0/29")) {
		t.Errorf("%v is in use", p)
	}
	if p, err := FreeSubnet(h, netip.MustParsePrefix("10.0.0.0/29"), "name"); err == nil {
		t.Errorf("%v is free, although all are in use", p)
	}
	must(AddDefaultRoute(h, netip.MustParseAddr("10.0.0.2")))
	if out, err := Outside(h, nil); err != nil || len(out) != 1 || out[0] != "s-a" {
		t.Errorf("outside is %v, %v", out, err)
	}
	must(DeleteAll(ns, h, []string{"s-a", "gone"}))
	list(1)
	must(Delete(h, "s-b"))
	must(Delete(h, "s-b"))
	list(0)
	if _, err := h.LinkByName("s-b"); !Gone(err) {
		t.Errorf("a link that is gone: %v", err)
	}
}

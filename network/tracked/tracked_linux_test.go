package tracked

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
	"github.com/rundlet/rundlet/network/nft"
)

// loopback is a namespace that tracks the flows on its loopback link.
func loopback(t *testing.T) *os.File {
	t.Helper()
	ns := namespacetest.New(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "tracks"})
	policy := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "all", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: nft.Rule(nft.CtState(nft.Established), nft.Accept())})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return ns
}

// send sends a packet of UDP from one address to another.
func send(t *testing.T, ns *os.File, from, to string) {
	t.Helper()
	err := namespace.In(ns, func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from + ":7000"))}
		c, err := d.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// flows are the destinations in a namespace by their sources.
func flows(t *testing.T, ns *os.File) map[string]string {
	t.Helper()
	table, err := conntrack.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	out := map[string]string{}
	err = table.Dump(nil, func(orig, _ conntrack.Tuple) {
		out[netip.AddrFrom4(orig.Src).String()] = netip.AddrPortFrom(netip.AddrFrom4(orig.Dst), orig.DstPort).String()
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFlowsAreDeletedByGuestAndDestination(t *testing.T) {
	router, host := loopback(t), loopback(t)
	guest := netip.MustParseAddr("127.1.0.1")
	f := &Flows{
		Guests: netip.MustParsePrefix("127.1.0.0/16"), Router: router, Host: host,
		Known: func() map[netip.Addr]bool { return map[netip.Addr]bool{guest: true} },
		Own:   func() (netip.Addr, bool, error) { return netip.Addr{}, false, nil },
	}
	send(t, router, "127.1.0.1", "127.0.0.1:53")
	send(t, router, "127.1.0.2", "127.0.0.1:53")
	send(t, router, "127.2.0.1", "127.0.0.1:53")
	send(t, host, "127.1.0.1", "127.0.0.1:53") // Of the host's: the same addresses are others there.
	if got := flows(t, router); len(got) != 3 {
		t.Fatalf("tracked: %v", got)
	}
	want := func(what string, sources ...string) {
		t.Helper()
		got := flows(t, router)
		for _, s := range sources {
			if got[s] != "127.0.0.1:53" {
				t.Errorf("%s: the flow of %s is gone", what, s)
			}
		}
		if len(got) != len(sources) {
			t.Errorf("%s: %v", what, got)
		}
		if len(flows(t, host)) != 1 {
			t.Errorf("%s: the host lost a flow that is not a guest's", what)
		}
	}
	if err := f.Cut(guest, func(f Flow) bool { return f.Proto != unix.IPPROTO_UDP || f.To.Port() != 53 || f.Redirected }); err != nil {
		t.Fatal(err)
	}
	want("another destination", "127.1.0.1", "127.1.0.2", "127.2.0.1")
	if err := f.Sweep(); err != nil {
		t.Fatal(err)
	}
	want("a guest that does not exist", "127.1.0.1", "127.2.0.1")
	if err := f.Cut(guest, func(f Flow) bool { return f.To.Port() == 53 }); err != nil {
		t.Fatal(err)
	}
	want("its destination", "127.2.0.1")
	f.Suspect.Store(true)
	if err := f.ForgetUntranslated(); err != nil || f.Suspect.Load() {
		t.Errorf("%v", err)
	}
	want("a flow of others", "127.2.0.1")
}

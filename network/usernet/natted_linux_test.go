package usernet

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

// natted is the namespace of a guest whose packets the namespace of the link forwards, with its address.
func (w *world) natted() *os.File {
	w.t.Helper()
	ns := namespacetest.New(w.t, nil)
	w.in(w.inside, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "router"
		must(w.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "guest", PeerNamespace: netlink.NsFd(int(ns.Fd()))}))
		up(w.t, "router", "10.9.0.1/24")
		must(w.t, namespace.WriteSysctl("ipv4/ip_forward", "1"))
		conn, err := nftables.New()
		must(w.t, err)
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
		chain := conn.AddChain(&nftables.Chain{Table: table, Name: "out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Masq{}}})
		must(w.t, conn.Flush())
	})
	w.in(ns, func() {
		up(w.t, "guest", "10.9.0.2/24")
		must(w.t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("10.9.0.1")}))
		active(w.t, "guest")
	})
	w.in(w.inside, func() { active(w.t, "router") })
	return ns
}

func TestAGuestBehindARouter(t *testing.T) {
	w := newWorld(t, nil)
	guest := w.natted()
	w.listen(w.internet, serverAddr+":7000", func(c *net.TCPConn) { _, _ = io.Copy(c, random(3)) })
	w.packets(w.internet, serverAddr+":7000", func(b []byte, _ net.Addr) []byte { return b })
	c, err := w.dial(guest, "tcp", serverAddr+":7000", patience)
	must(t, err)
	if digest(t, c) != digest(t, random(3)) {
		t.Error("other bytes arrive")
	}
	// What fails outside is the guest's to know, too.
	if _, err := w.dial(guest, "tcp", serverAddr+":1", patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	if _, err := w.dial(guest, "tcp", absentAddr+":1", patience); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("an absent host: %v", err)
	}
	for port, want := range map[string]error{"7000": nil, "1": unix.ECONNREFUSED} {
		c, err := w.dial(guest, "udp", serverAddr+":"+port, patience)
		must(t, err)
		if got, err := ask(c, make([]byte, 8000)); !errors.Is(err, want) || err == nil && len(got) != 8000 {
			t.Errorf("UDP to port %s: %d bytes, %v", port, len(got), err)
		}
	}
}

package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

// farIP is an address behind a router with a narrow link.
const farIP = "198.51.100.200"

// far adds a host that the world reaches by a link for packets of 1280 bytes only, with a web server that counts what it is
// sent.
func (w *world) far() {
	w.t.Helper()
	ns := namespacetest.New(w.t, nil)
	w.in(w.outer, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "narrow", 1280
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "narrow", PeerMTU: 1500, PeerNamespace: netlink.NsFd(ns.Fd())}
		if err := errors.Join(netlink.LinkAdd(link), namespace.WriteSysctl("ipv4/ip_forward", "1"), up("narrow", "192.0.2.1/24")); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(farIP).To4(), Mask: net.CIDRMask(32, 32)}, LinkIndex: link.Index})
	})
	w.in(ns, func() error {
		if err := up("narrow", farIP+"/32", "192.0.2.2/24"); err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("192.0.2.1")}); err != nil {
			return err
		}
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, k)
		})}
		w.t.Cleanup(func() { srv.Close() })
		go srv.Serve(l)
		return nil
	})
}

// The gateway sends large packets to a host behind a link that takes smaller ones only, be it the host's own or another.
func TestTheGatewayHearsThatItsPacketsAreTooLarge(t *testing.T) {
	const size = 200_000
	for _, hosts := range []bool{false, true} {
		w := newWorld(t)
		w.named(map[string][]string{"far.example": {farIP}})
		w.far()
		if hosts {
			w.narrow(1280)
		}
		n := w.open(w.config())
		posts(t, w.guest(w.acquire(n, byName("far.example"))), size)
	}
}

func posts(t *testing.T, guest *os.File, size int) {
	t.Helper()
	c, err := rawDial(guest, "tcp", internetIP+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: far.example\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", size, strings.Repeat("a", size))
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(got), fmt.Sprint(size)) {
		t.Errorf("%q, %v", got, err)
	}
}

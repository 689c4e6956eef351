package network

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
	"github.com/rundlet/rundlet/network/nft"
)

// world is a machine with neighbours, all in nested namespaces:
//
//	host  eth0 9.9.9.2/24, 10.77.0.2/24, 2001:db8::2  ── outer
//	outer eth0 9.9.9.1 and what the world offers: 9.9.9.9, 198.51.100.7,
//	      169.254.169.254, one address of each denied range, IPv6
type world struct {
	t           testing.TB
	dir         string
	host, outer *os.File
	zone        *zone // Of named.
}

// outside are addresses of the outer namespace that policies may allow.
const (
	internetIP  = "198.51.100.7"
	internetIP2 = "9.9.9.9"
	resolverIP  = "10.77.0.53" // A private name server outside.
	hostIP      = "9.9.9.2"
	hostPrivate = "10.77.0.2"
	publishedIP = "9.9.9.2" // Port 8080 is DNATed by the host to internetIP2.
)

// deniedIPs has an address of every always-denied range that a server can have.
var deniedIPs = []string{
	"10.77.0.1", "100.64.1.1", "168.63.129.16", "169.254.169.254", "172.16.1.1",
	"192.0.0.192", "192.168.1.1", "198.18.1.1",
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	loopback := func() error { return up("lo") }
	w.outer, w.host = namespacetest.New(t, loopback), namespacetest.New(t, loopback)
	w.in(w.outer, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(w.host.Fd())}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		addrs := []string{"9.9.9.1/24", "10.77.0.1/24", resolverIP + "/24", internetIP2 + "/24", internetIP + "/32"}
		for _, a := range deniedIPs[1:] {
			addrs = append(addrs, a+"/32")
		}
		return up("eth0", append(addrs, "2001:db8::1/64")...)
	})
	w.in(w.host, func() error {
		if err := up("eth0", hostIP+"/24", hostPrivate+"/24", "2001:db8::2/64"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("9.9.9.1")})
	})
	return w
}

func (w *world) in(ns *os.File, fn func() error) {
	w.t.Helper()
	if err := namespace.In(ns, fn); err != nil {
		w.t.Fatal(err)
	}
}

// narrow makes the host's own link take smaller packets.
func (w *world) narrow(mtu int) {
	w.t.Helper()
	w.in(w.host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	})
}

func up(name string, addrs ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = 2 // IFA_F_NODAD: IPv6 addresses are usable at once.
		if addr.IP.To4() != nil {
			addr.Flags = 0
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func (w *world) config() Config {
	c := Config{
		RunDir: filepath.Join(w.dir, "run"), HostNetNS: w.host.Name(), Ahead: -1,
		Nameservers: []netip.Addr{netip.MustParseAddr(resolverIP)},
		OnError:     func(err error) { w.t.Error(err) },
	}
	if z := w.zone; z != nil { // Requests may get headers.
		c.Certify, c.Roots = func(string) (*tls.Certificate, error) { return &z.certificate, nil }, z.roots
	}
	return c
}

// open opens a Network that is closed, with all its slots, after the test.
func (w *world) open(cfg Config) *Network {
	w.t.Helper()
	n, err := Open(context.Background(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		n.leases.mu.Lock()
		var ids []string
		for id, s := range n.leases.slots {
			if s.state != slotMaking {
				s.state = slotLeased
				ids = append(ids, id)
			}
		}
		n.leases.mu.Unlock()
		for _, id := range ids {
			n.Release(context.Background(), id)
		}
		if err := n.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return n
}

func (w *world) acquire(n *Network, p Policy) Slot {
	w.t.Helper()
	s, err := n.Acquire(context.Background(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// guest opens the namespace of a slot, to be the guest.
func (w *world) guest(s Slot) *os.File {
	w.t.Helper()
	f, ok, err := namespace.Open(s.NetNS)
	if err != nil || !ok {
		w.t.Fatalf("slot namespace %s: %v, %v", s.NetNS, ok, err)
	}
	w.t.Cleanup(func() { f.Close() })
	return f
}

// serve answers in a namespace, on every address: TCP says "hello" and echoes,
// UDP echoes.
func (w *world) serve(ns *os.File, port int) {
	w.t.Helper()
	w.in(ns, func() error {
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { tcp.Close() })
		go serveTCP(tcp)
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			// One socket each, so that answers come from the right address.
			udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: a.(*net.IPNet).IP, Port: port})
			if err != nil {
				continue // A link-local address needs a zone.
			}
			w.t.Cleanup(func() { udp.Close() })
			go serveUDP(udp)
		}
		return nil
	})
}

func serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.Write([]byte("hello"))
			io.Copy(c, c)
		}()
	}
}

func serveUDP(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		k, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo(buf[:k], from)
	}
}

const (
	// reachTime is how long what must arrive may take, on a busy machine.
	reachTime = 30 * time.Second
	// silence is how long a test waits for what must not arrive.
	silence = 2 * time.Second
)

// dial connects from a namespace and returns the connection after its hello.
func dial(ns *os.File, network, addr string) (net.Conn, error) {
	return dialFor(reachTime, ns, network, addr)
}

func dialFor(wait time.Duration, ns *os.File, network, addr string) (net.Conn, error) {
	var c net.Conn
	err := namespace.In(ns, func() (err error) {
		c, err = net.DialTimeout(network, addr, wait)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(wait))
	buf := make([]byte, 5)
	if network == "udp" {
		c.Write([]byte("query"))
	}
	if _, err := c.Read(buf); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// refusal is what a guest sees when something is refused.
func refusal(network string) syscall.Errno {
	if network == "udp" {
		return syscall.ECONNREFUSED
	}
	return syscall.EHOSTUNREACH
}

// reach is dial for whether it works.
func reach(ns *os.File, network, addr string) error {
	return reachWithin(reachTime, ns, network, addr)
}

// reachWithin is reach with less patience, for what may get no answer at all.
func reachWithin(wait time.Duration, ns *os.File, network, addr string) error {
	c, err := dialFor(wait, ns, network, addr)
	if err == nil {
		c.Close()
	}
	return err
}

// publish redirects a port of the host in both protocols, as a container
// engine does.
func publish(conn *nftables.Conn, ip netip.Addr, port uint16, to netip.Addr, toPort uint16) {
	b := nft.Replace(conn, "published")
	own := b.AddrSet("own", []netip.Addr{ip})
	redirect := []expr.Any{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, toPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
	prio := *nftables.ChainPriorityNATDest
	c := &nftables.Chain{Name: "prerouting", Table: b.Ref, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: &prio}
	b.Add(c, [][]expr.Any{
		nft.Rule(nft.DestIn(own), nft.IsPort(unix.IPPROTO_TCP, port), redirect),
		nft.Rule(nft.DestIn(own), nft.IsPort(unix.IPPROTO_UDP, port), redirect),
	})
}

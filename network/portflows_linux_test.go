package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/policies"
)

// Flows that all policies allow are asked without a rest while policies of ports follow each other. A packet that is refused in
// between would be counted. New ones to a port that all policies shut are never let through.
func TestFlowsOfPortsDoNotNoticeChanges(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.named(map[string][]string{"a.example": {internetIP}})
	w.serve(w.outer, 22)
	n := w.open(w.config())
	const slots, flowsOfEach, changes = 3, 60, 100
	named := func(p Policy, names ...string) Policy {
		p.AllowInternet, p.Names = true, names
		return p
	}
	both := []string{internetIP, internet6}
	list := [][]Policy{
		{everywhere, onPort(everywhere, 22), onPort(Policy{}, 8081, both...), onPort(onPort(only(both...), 22), 9000), onPort(everywhere, 8081, both...)},
		{named(Policy{}, "a.example:8081"), named(Policy{}, "a.example"), named(onPort(Policy{}, 8081, internetIP2), "*.example:8081", "b.example:1"), named(onPort(everywhere, 22), "a.example")},
		{onPort(onPort(everywhere, 22), 8081, internetIP, internet6), onPort(Policy{}, 8081, both...)},
	}
	stop, ended := make(chan struct{}), make(chan error, slots*flowsOfEach)
	var of []Slot
	var started sync.WaitGroup
	for i, policies := range list {
		s := w.acquire(n, policies[0])
		guest := w.guest(s)
		if i == 1 {
			lookUp(t, guest, "udp", resolverIP+":53", "a.example")
		}
		of = append(of, s)
		for k := range flowsOfEach {
			addr := internetIP
			if k%2 == 1 && i != 1 {
				addr = internet6
			}
			f := openFlow(t, guest, in6(addr, "8081"))
			started.Add(1)
			go func() { ended <- f.keepAsking(10*time.Millisecond, stop, started.Done) }()
		}
	}
	started.Wait()
	refused := refusals(t, n)
	before := refused()
	began := time.Now()
	for i := range changes {
		for k, s := range of {
			if err := n.SetPolicy(t.Context(), s.ID, list[k][i%len(list[k])]); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d changes took %v", changes*slots, time.Since(began))
	if got := refused(); got != before {
		t.Errorf("%d packets of allowed flows were refused", got-before)
	}
	close(stop)
	for range slots * flowsOfEach {
		if err := <-ended; err != nil {
			t.Errorf("a flow that stays allowed: %v", err)
		}
	}
	// The last slot has always had port 22 shut.
	if err := reach(w.guest(of[2]), "tcp", internetIP+":22"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a port that is shut: %v", err)
	}
}

// Datagrams in fragments pass where their port is open. A fragment without a port passes nowhere, whatever is open.
func TestFragmentsOfPorts(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, onPort(onPort(Policy{}, 98), 99, internetIP, internet6)))
	for _, addr := range []string{internetIP, internet6} {
		got := map[string]chan int{}
		for _, port := range []string{"98", "99"} {
			c := make(chan int, 9)
			got[port] = c
			w.in(w.outer, func() error {
				server, err := net.ListenPacket("udp", in6(addr, port))
				if err != nil {
					return err
				}
				t.Cleanup(func() { server.Close() })
				go func() {
					buf := make([]byte, 1<<16)
					for {
						k, from, err := server.ReadFrom(buf)
						if err != nil {
							return
						}
						c <- k
						server.WriteTo(buf[:k], from)
					}
				}()
				return nil
			})
		}
		for _, port := range []string{"98", "99"} {
			client, err := rawDial(guest, "udp", in6(addr, port))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Write(make([]byte, 4000)); err != nil {
				t.Fatal(err)
			}
			k, err := client.Read(make([]byte, 5000))
			if port == "99" && k != 4000 || port == "98" && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: an answer of %d bytes, %v", in6(addr, port), k, err)
			}
		}
		if len(got["98"]) > 0 {
			t.Errorf("%s: a datagram came to a port that is shut", addr)
		}
	}
	arrived := w.fragments()
	const whole, rest = 7, 8
	for _, number := range []byte{rest, whole} { // Without the fragment that has the port, and with it.
		w.in(guest, func() error { return sendFragments(internetIP, 99, number, number == whole) })
	}
	select {
	case number := <-arrived:
		if number != whole {
			t.Error("a fragment without a port has passed")
		}
	case <-time.After(reachTime):
		t.Error("fragments of a datagram do not arrive")
	}
}

// sendFragments sends the second fragment of a datagram with a number, and before it the first one if it is to.
func sendFragments(to string, port uint16, number byte, first bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	head := func(more bool, offset, data int) []byte {
		b := make([]byte, 20+data)
		b[0], b[3], b[8], b[9] = 0x45, byte(len(b)), 64, unix.IPPROTO_UDP
		b[4], b[5], b[7] = mark, number, byte(offset/8)
		if more {
			b[6] = 0x20
		}
		copy(b[16:], netip.MustParseAddr(to).AsSlice())
		return b
	}
	var list [][]byte
	if first {
		b := head(true, 0, 16)
		b[20], b[21], b[22], b[23], b[25] = 0x80, 1, byte(port>>8), byte(port), 24 // Without a checksum.
		list = append(list, b)
	}
	list = append(list, head(false, 16, 8))
	for _, b := range list {
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// mark begins the numbers of such datagrams.
const mark = 0xa7

// fragments returns the numbers of packets of sendFragments that come out of the host.
func (w *world) fragments() <-chan byte {
	w.t.Helper()
	arrived := make(chan byte, 99)
	var f *os.File
	w.in(w.outer, func() error {
		proto := unix.ETH_P_IP >> 8 // In network order.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "fragments")
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: link.Index})
	})
	w.t.Cleanup(func() { f.Close() })
	go func() {
		buf := make([]byte, 2000)
		for {
			k, err := f.Read(buf)
			if err != nil {
				return
			}
			if k >= 20 && buf[9] == unix.IPPROTO_UDP && netip.AddrFrom4([4]byte(buf[16:20])) == netip.MustParseAddr(internetIP) && buf[4] == mark {
				arrived <- buf[5]
			}
		}
	}()
	return arrived
}

// Errors about a flow on an open port come in, although nothing else of ICMP does.
func TestASlotOfAPortHearsThatItsPacketsAreTooLarge(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	n := w.open(w.config())
	const behind, behind6 = "198.51.100.200", "2a00:1::99"
	w.in(w.outer, func() error { // A router with a narrow link.
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "narrow", 1300
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "wide"}
		err := errors.Join(netlink.LinkAdd(link), namespace.WriteSysctl("ipv4/ip_forward", "1"), namespace.WriteSysctl("ipv6/conf/all/forwarding", "1"), up("wide"), up("narrow"))
		for _, addr := range []string{behind, behind6} {
			p := netip.MustParseAddr(addr)
			err = errors.Join(err, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: p.AsSlice(), Mask: net.CIDRMask(p.BitLen(), p.BitLen())}, LinkIndex: link.Index}))
		}
		return err
	})
	for name, p := range map[string]Policy{"a port opened": onPort(Policy{}, 9, behind, behind6), "another shut": onPort(everywhere, 22)} {
		guest := w.guest(w.acquire(n, p))
		for _, addr := range []string{behind, behind6} {
			if !hears(t, guest, in6(addr, "9")) {
				t.Errorf("%s: nothing tells the guest that its packets to %s are too large", name, addr)
			}
		}
		if kind, err := ping(guest, internetIP); name == "a port opened" && (err != nil || fmt.Sprint(kind) != "destination unreachable") {
			t.Errorf("%s: ping: %v, %v", name, kind, err)
		}
	}
}

// As many ports as may be, with many ranges, are written, changed and deleted.
func TestManyRangesOfPorts(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	var list []string
	for i := range 200 {
		list = append(list, fmt.Sprintf("20.%d.%d.0-20.%d.%d.9", i/256, i%256, i/256, i%256))
	}
	whole := only(list...)
	for i := range policies.MostPorts {
		whole.Ports = append(whole.Ports, policies.Port{Port: uint16(i*1000 + 22), Only: whole.Only[i:]})
	}
	other := whole
	other.Only = whole.Only[:100]
	var slots []Slot
	for range 6 {
		began := time.Now()
		slots = append(slots, w.acquire(n, whole))
		t.Logf("a slot after %v", time.Since(began))
	}
	began := time.Now()
	for _, s := range slots {
		if err := n.SetPolicy(t.Context(), s.ID, other); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("6 changes took %v", time.Since(began))
	began = time.Now()
	got, err := rules.recover()
	if err != nil || len(got) != len(slots) || !got[slots[0].ID].Equal(other) {
		t.Errorf("%d policies, %v", len(got), err)
	}
	t.Logf("read in %v", time.Since(began))
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
}

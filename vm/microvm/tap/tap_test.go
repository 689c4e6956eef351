//go:build linux

package tap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

const (
	mtu       = 1400
	marker    = 0x88b5 // An Ethernet protocol that is free for experiments.
	netHeader = 10     // Of each frame of the device: struct virtio_net_hdr.
	patience  = 10 * time.Second
)

// space makes a network namespace that ends with the test, and returns its path.
func space(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	var ns *os.File
	if err := netns.InNew(func() (err error) { ns, err = os.Open(netns.Own); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
}

func in(t *testing.T, path string, f func() error) {
	t.Helper()
	if err := netns.At(path, f); err != nil {
		t.Fatal(err)
	}
}

// pair are two namespaces: that of a guest, with a network card, and the one at the other end of its cable.
type pair struct {
	here, there string
	mac, far    net.HardwareAddr
	wire        *os.File // The other end: what arrives there, and what is sent from there.
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{here: space(t), there: space(t)}
	in(t, p.there, func() error {
		far, err := os.Open(p.here)
		if err != nil {
			return err
		}
		defer far.Close()
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far", MTU: mtu}, PeerName: "card", PeerNamespace: netlink.NsFd(int(far.Fd()))})
	})
	p.mac, _ = p.setUp(t, p.here, "card", "10.0.0.2/30", "10.0.0.1")
	var index int
	p.far, index = p.setUp(t, p.there, "far", "10.0.0.1/30", "")
	in(t, p.there, func() error {
		protocol := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(protocol))
		if err != nil {
			return err
		}
		p.wire = os.NewFile(uintptr(fd), "wire")
		t.Cleanup(func() { p.wire.Close() })
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index})
	})
	return p
}

func (p *pair) setUp(t *testing.T, space, name, address, gateway string) (mac net.HardwareAddr, index int) {
	t.Helper()
	in(t, space, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		card, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		mac, index = card.Attrs().HardwareAddr, card.Attrs().Index
		addr, err := netlink.ParseAddr(address)
		if err = errors.Join(err, netlink.AddrAdd(card, addr), netlink.LinkSetUp(card)); err != nil || gateway == "" {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: net.ParseIP(gateway)})
	})
	return mac, index
}

func (p *pair) open(t *testing.T) (*os.File, link.Network) {
	t.Helper()
	var file *os.File
	var network link.Network
	in(t, p.here, func() (err error) {
		file, network, err = Open()
		return err
	})
	t.Cleanup(func() { file.Close() })
	return file, network
}

func frame(to, from net.HardwareAddr, protocol uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(bytes.Clone(to), from...), protocol), payload...)
}

// read returns the next frame; skip is how many bytes come before it.
func read(t *testing.T, from *os.File, skip int) []byte {
	t.Helper()
	buf := make([]byte, 64<<10)
	if err := from.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := from.Read(buf)
	if err != nil || n < skip+14 {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return buf[skip:n]
}

func write(t *testing.T, to *os.File, skip int, frame []byte) {
	t.Helper()
	if _, err := to.Write(append(make([]byte, skip), frame...)); err != nil {
		t.Fatal(err)
	}
}

// passes checks that frames go both ways, unchanged.
func (p *pair) passes(t *testing.T, tap *os.File) {
	t.Helper()
	for i := range 20 {
		size := 46 + i*(mtu-46)/19
		there := frame(p.mac, p.far, marker, bytes.Repeat([]byte{byte(i)}, size))
		write(t, p.wire, 0, there)
		if got := read(t, tap, netHeader); !bytes.Equal(got, there) {
			t.Fatalf("frame %d arrives as %x", i, got)
		}
		back := frame(p.far, p.mac, marker, bytes.Repeat([]byte{byte(i)}, size))
		write(t, tap, netHeader, back)
		if got := read(t, p.wire, 0); !bytes.Equal(got, back) {
			t.Fatalf("frame %d leaves as %x", i, got)
		}
	}
}

func TestFramesGoBothWays(t *testing.T) {
	p := newPair(t)
	tap, network := p.open(t)
	want := link.Network{MAC: p.mac.String(), MTU: mtu, Addresses: []string{"10.0.0.2/30"}, Gateway: "10.0.0.1"}
	if !reflect.DeepEqual(network, want) {
		t.Errorf("the network is %+v", network)
	}
	p.passes(t, tap)
	in(t, p.here, func() error {
		l, err := netlink.LinkByName(device)
		if err == nil && l.Attrs().MTU != mtu {
			t.Errorf("the MTU is %d", l.Attrs().MTU)
		}
		return err
	})
}

func TestTheGuestGetsTheCardsAddressOfIPv6(t *testing.T) {
	p := newPair(t)
	in(t, p.here, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/card/disable_ipv6", []byte("0"), 0); err != nil { // It makes a link-local address, too.
			return err
		}
		card, err := netlink.LinkByName("card")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("fd00::2/126")
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		return errors.Join(netlink.AddrAdd(card, addr), netlink.RouteAdd(&netlink.Route{LinkIndex: card.Attrs().Index, Gw: net.ParseIP("fd00::1")}))
	})
	want := link.Network{MAC: p.mac.String(), MTU: mtu, Addresses: []string{"10.0.0.2/30", "fd00::2/126"}, Gateway: "10.0.0.1", Gateway6: "fd00::1"}
	if _, network := p.open(t); !reflect.DeepEqual(network, want) {
		t.Errorf("the network is %+v", network)
	}
}

// arp sends a request for the card's address.
func (p *pair) arp() []byte {
	request := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	request = append(append(request, p.far...), 10, 0, 0, 1)
	request = append(append(request, make([]byte, 6)...), 10, 0, 0, 2)
	return frame(net.HardwareAddr{255, 255, 255, 255, 255, 255}, p.far, unix.ETH_P_ARP, request)
}

// connect connects to a port of the card's address on which nothing listens.
func (p *pair) connect(ctx context.Context) error {
	return netns.At(p.there, func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", "10.0.0.2:9")
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (p *pair) ofCard(frame []byte) bool { return bytes.Equal(frame[6:12], p.mac) }

func TestTheKernelOfTheNamespaceAnswersNothing(t *testing.T) {
	p := newPair(t)
	in(t, p.there, func() error {
		far, err := netlink.LinkByName("far")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: far.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 0, 0, 2), HardwareAddr: p.mac})
	})
	// Before the device is made, the kernel answers.
	if err := p.connect(t.Context()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("a connection without a device: %v", err)
	}
	write(t, p.wire, 0, p.arp())
	for {
		if got := read(t, p.wire, 0); p.ofCard(got) && binary.BigEndian.Uint16(got[12:]) == unix.ETH_P_ARP && got[21] == 2 {
			break // It answered, after all else.
		}
	}

	tap, _ := p.open(t)
	write(t, p.wire, 0, p.arp())
	if got := read(t, tap, netHeader); !bytes.Equal(got[:len(p.arp())], p.arp()) {
		t.Errorf("the request arrives as %x", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	connected := make(chan error, 1)
	go func() { connected <- p.connect(ctx) }()
	if got := read(t, tap, netHeader); binary.BigEndian.Uint16(got[12:]) != unix.ETH_P_IP || got[14+9] != unix.IPPROTO_TCP {
		t.Errorf("the connection arrives as %x", got)
	}
	// An answer of the kernel would come before this one of the guest.
	write(t, tap, netHeader, frame(p.far, p.mac, marker, make([]byte, 46)))
	for {
		got := read(t, p.wire, 0)
		if !p.ofCard(got) {
			continue // What was sent from there.
		}
		if binary.BigEndian.Uint16(got[12:]) == marker {
			break
		}
		t.Errorf("the kernel answers %x", got)
	}
	cancel()
	if err := <-connected; errors.Is(err, unix.ECONNREFUSED) || err == nil {
		t.Errorf("a connection with a device: %v", err)
	}
	in(t, p.here, func() error {
		value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + device + "/disable_ipv6")
		if err == nil && strings.TrimSpace(string(value)) != "1" {
			t.Error("the kernel speaks IPv6 with the guest")
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

func TestTheDeviceEndsWithItsFile(t *testing.T) {
	p := newPair(t)
	exists := func() (there bool) {
		in(t, p.here, func() error {
			_, err := netlink.LinkByName(device)
			there = err == nil
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil
			}
			return err
		})
		return there
	}
	first, _ := p.open(t)
	err := netns.At(p.here, func() error {
		_, _, err := Open()
		return err
	})
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second device: %v", err)
	}
	p.passes(t, first)
	fd, err := unix.FcntlInt(first.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if !exists() {
		t.Error("the device ended before the last copy of its file")
	}
	_ = unix.Close(fd)
	if exists() {
		t.Error("the device outlives its file")
	}
	for range 3 {
		again, _ := p.open(t)
		p.passes(t, again)
		again.Close()
	}
}

func TestANamespaceWithoutACard(t *testing.T) {
	err := netns.At(space(t), func() error {
		_, _, err := Open()
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "no network card") {
		t.Error(err)
	}
}

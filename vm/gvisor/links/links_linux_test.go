package links

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/sandbox"

	"github.com/rundlet/rundlet/vm/gvisor/control"
)

// namespace makes a network namespace with the given interfaces, on a thread that stays in it until the
// test ends. It returns the number of the thread.
func namespace(t *testing.T, fill func() error) (thread int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	made, end := make(chan error), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends.
		thread = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = fill()
		}
		made <- err
		<-end
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	return thread
}

// up makes an interface with addresses, and sets it up.
func up(link netlink.Link, addresses ...string) error {
	if link.Attrs().Name != "lo" {
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(link.Attrs().Name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

func veth(name string, mac byte) netlink.Link {
	hardware := net.HardwareAddr{2, 0, 0, 0, 0, mac}
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1400, HardwareAddr: hardware}, PeerName: name + "p",
		PeerHardwareAddr: net.HardwareAddr{2, 0, 0, 0, 1, mac}}
}

func route(to, by string, link netlink.Link) error {
	link, err := netlink.LinkByName(link.Attrs().Name)
	if err != nil {
		return err
	}
	r := netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(by)}
	if to != "" {
		_, r.Dst, err = net.ParseCIDR(to)
	}
	return errors.Join(err, netlink.RouteAdd(&r))
}

// full has what a namespace can have: two pairs of interfaces with addresses of both families, routes, defaults and
// a permanent neighbor, one that is down, one without an address, and loopback.
func full() error {
	eth0, eth1 := veth("eth0", 1), veth("eth1", 2)
	err := errors.Join(up(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}), up(eth0, "10.9.0.2/30", "fd00:9::2/64"), up(eth1, "10.8.0.2/24"),
		netlink.LinkAdd(veth("down", 3)))
	if err != nil {
		return err
	}
	peer := func(name string) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}
	if err := errors.Join(peer("eth0p"), peer("eth1p")); err != nil {
		return err
	}
	link, err := netlink.LinkByName("eth1")
	if err != nil {
		return err
	}
	return errors.Join(route("", "10.9.0.1", eth0), route("", "fd00:9::1", eth0), route("172.20.0.0/16", "10.8.0.1", eth1),
		netlink.NeighAdd(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IP{10, 8, 0, 9},
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
}

// containerManager is as much of a control server as gVisor's library needs to set a network up.
type containerManager struct {
	got   boot.CreateLinksAndRoutesArgs
	socks []string
}

func (c *containerManager) StartRoot(*string, *struct{}) error { return nil }
func (c *containerManager) SetNetworkArgs(args *boot.CreateLinksAndRoutesArgs, _ *struct{}) error {
	for _, f := range args.Files {
		c.socks = append(c.socks, socket(f))
	}
	c.got = *args
	c.got.Files = nil
	return nil
}

// socket describes a packet socket.
func socket(f *os.File) string {
	fd := int(f.Fd())
	address, err := unix.Getsockname(fd)
	if err != nil {
		return err.Error()
	}
	ll := address.(*unix.SockaddrLinklayer)
	kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	header, _ := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR)
	rcv, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	snd, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return fmt.Sprint("type ", kind, " protocol ", ll.Protocol, " interface ", ll.Ifindex, " header ", header, " buffers ", rcv, snd)
}

// asked makes a sandbox's network from the namespace of a thread, and returns what its server was given.
func asked(t *testing.T, start func(socket string) error) *containerManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "net")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	srv, err := server.Create(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Stop(0)
	manager := &containerManager{}
	srv.Register(manager)
	if err := srv.StartServing(); err != nil {
		t.Fatal(err)
	}
	if err := start(filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	return manager
}

// takeOf takes the network of the namespace at a path.
func takeOf(path string) (*control.Network, error) {
	namespace, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	return Take(namespace)
}

// TestTheNetworkIsThatOfGVisor makes two namespaces alike, and a sandbox's network from one by gVisor's
// library, and from the other by this package.
func TestTheNetworkIsThatOfGVisor(t *testing.T) {
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(fs)
	for name, value := range map[string]string{"network": "sandbox", "host-settings": "ignore"} {
		if err := fs.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.NewFromFlags(fs)
	if err != nil {
		t.Fatal(err)
	}
	first, second := namespace(t, full), namespace(t, full)
	want := asked(t, func(socket string) error {
		s := &sandbox.Sandbox{ID: "box", ControlSocketPath: socket}
		s.Pid.Store(first)
		return s.StartRoot(conf, &specs.Spec{})
	})
	path := fmt.Sprintf("/proc/%d/ns/net", second)
	got := asked(t, func(socket string) error {
		return control.Sandbox{ID: "box", Socket: socket}.StartRoot(func() (*control.Network, error) {
			n, err := takeOf(path)
			if err == nil {
				t.Cleanup(n.Close)
			}
			return n, err
		})
	})
	if !reflect.DeepEqual(got.got, want.got) {
		a, _ := json.MarshalIndent(got.got, "", " ")
		b, _ := json.MarshalIndent(want.got, "", " ")
		t.Errorf("%s\nwant %s", a, b)
	}
	if !reflect.DeepEqual(got.socks, want.socks) || len(got.socks) != 4 {
		t.Errorf("the sockets are\n%s\nwant\n%s", strings.Join(got.socks, "\n"), strings.Join(want.socks, "\n"))
	}
	// The sandbox has the addresses now.
	left, err := takeOf(path)
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close()
	for _, l := range left.FDBasedLinks {
		for _, a := range l.Addresses {
			if !a.Address.IsLinkLocalUnicast() { // The kernel gives these.
				t.Errorf("the host keeps %v on %s", a, l.Name)
			}
		}
	}
	if len(left.LoopbackLinks) != 1 || len(left.LoopbackLinks[0].Addresses) == 0 {
		t.Errorf("loopback has lost its addresses: %+v", left.LoopbackLinks)
	}
}

func TestWhatCannotBeTaken(t *testing.T) {
	if err := inside(os.DevNull); err == nil || !strings.Contains(err.Error(), "network of the host") {
		t.Errorf("the network of the host: %v", err)
	}
	if _, err := takeOf(os.DevNull); !errors.Is(err, unix.EINVAL) {
		t.Errorf("not a namespace: %v", err)
	}
	empty := namespace(t, func() error { return nil })
	if n, err := takeOf(fmt.Sprintf("/proc/%d/ns/net", empty)); err != nil || len(n.LoopbackLinks)+len(n.FDBasedLinks)+len(n.Files) > 0 {
		t.Errorf("nothing that is up: %+v, %v", n, err)
	}
}

package testspace

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TB is the part of testing.TB that NetNS uses; package testing adds flags to a program.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
}

// NetNS makes a network namespace with an eth0 that the tests reach at the address guestIP. It ends with the test. n is another one for each
// namespace of a test binary, which must have a network namespace for itself: see Again.
func NetNS(t TB, n int) (path, guestIP string) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	here, err := netns.Get()
	must(err)
	defer here.Close()
	there, err := netns.New()
	must(err)
	defer there.Close()
	must(netns.Set(here))
	file, err := os.CreateTemp("", "testns")
	must(err)
	must(file.Close())
	path = file.Name()
	must(unix.Mount(fmt.Sprintf("/proc/self/fd/%d", int(there)), path, "", unix.MS_BIND, ""))
	host := fmt.Sprintf("vh%d", n)
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(host); err == nil {
			_ = netlink.LinkDel(link)
		}
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = os.Remove(path)
	})
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(there))}))
	up := func(h *netlink.Handle, name string, ip net.IP) netlink.Link {
		link, err := h.LinkByName(name)
		must(err)
		if ip != nil {
			must(h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(30, 32)}}))
		}
		must(h.LinkSetUp(link))
		return link
	}
	gateway, guest := net.IPv4(10, 200, byte(n>>6), byte(n<<2+1)), net.IPv4(10, 200, byte(n>>6), byte(n<<2+2))
	outer, err := netlink.NewHandle()
	must(err)
	defer outer.Close()
	inner, err := netlink.NewHandleAt(there)
	must(err)
	defer inner.Close()
	up(outer, host, gateway)
	up(inner, "lo", nil)
	eth := up(inner, "eth0", guest)
	must(inner.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway}))
	return path, guest.String()
}

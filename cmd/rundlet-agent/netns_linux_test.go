package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// outsideIP is an address of the tests' own namespace that every sandbox has a
// route to.
const outsideIP = "10.201.0.1"

// makeNetNS makes a network namespace with an eth0 that the tests can reach.
func makeNetNS(t testing.TB, n int) (path, guestIP string) {
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
	file, err := os.CreateTemp("", "agns")
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
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: "eth0",
		PeerNamespace: netlink.NsFd(int(there))}))
	up := func(h *netlink.Handle, name, addr string) netlink.Link {
		link, err := h.LinkByName(name)
		must(err)
		if addr != "" {
			a, err := netlink.ParseAddr(addr)
			must(err)
			if err := h.AddrAdd(link, a); !errors.Is(err, syscall.EEXIST) {
				must(err)
			}
		}
		must(h.LinkSetUp(link))
		return link
	}
	subnet := func(last int) net.IP { return net.IPv4(10, 200, byte(n>>6), byte(n<<2+last)) }
	outer, err := netlink.NewHandle()
	must(err)
	defer outer.Close()
	inner, err := netlink.NewHandleAt(there)
	must(err)
	defer inner.Close()
	up(outer, "lo", outsideIP+"/32")
	up(outer, host, subnet(1).String()+"/30")
	up(inner, "lo", "")
	eth := up(inner, "eth0", subnet(2).String()+"/30")
	must(inner.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: subnet(1)}))
	return path, subnet(2).String()
}

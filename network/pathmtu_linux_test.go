package network

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// The way to an allowed address takes smaller packets than the guest's link. A router on the way says so, which is in
// no list, and is heard all the same: else what a guest sends to what it may reach is lost.
func TestALimitedSlotHearsThatItsPacketsAreTooLarge(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	const behind = "198.51.100.200"
	w.in(w.outer, func() error { // A router with a narrow link.
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "narrow", 1300
		link := &netlink.Veth{LinkAttrs: attrs, PeerName: "wide"}
		if err := errors.Join(netlink.LinkAdd(link), namespace.WriteSysctl("ipv4/ip_forward", "1"), up("wide"), up("narrow")); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(behind).To4(), Mask: net.CIDRMask(32, 32)}, LinkIndex: link.Index})
	})
	for name, p := range map[string]Policy{"open": {AllowInternet: true}, "limited": only(behind)} {
		if !hears(t, w.guest(w.acquire(n, p)), behind+":9") {
			t.Errorf("%s: nothing tells the guest that its packets are too large", name)
		}
	}
}

// hears sends packets of 1400 bytes until the kernel refuses them as too large.
func hears(t *testing.T, guest *os.File, addr string) bool {
	t.Helper()
	var c net.Conn
	err := namespace.In(guest, func() (err error) {
		c, err = net.Dial("udp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
		if c.LocalAddr().(*net.UDPAddr).IP.To4() == nil {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
		}
		err = unix.SetsockoptInt(int(fd), level, option, unix.IP_PMTUDISC_DO) // Both families have the same value.
	})
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < silence; {
		if _, err := c.Write(make([]byte, 1400)); errors.Is(err, syscall.EMSGSIZE) {
			return true
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // An error of the flow ends it.
		_, _ = c.Read(make([]byte, 1))
	}
	return false
}

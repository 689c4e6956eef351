//go:build linux

package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// wake makes what differs between machines of one snapshot as the host says.
func wake(w link.Wake) error {
	errs := []error{reseed(w.Seed)}
	if !w.Time.IsZero() {
		now := unix.NsecToTimeval(w.Time.UnixNano())
		errs = append(errs, unix.Settimeofday(&now))
	}
	if w.Hostname != "" {
		errs = append(errs, unix.Sethostname([]byte(w.Hostname)))
	}
	if w.Network != nil {
		errs = append(errs, configure(*w.Network))
	}
	return errors.Join(errs...)
}

// The calls of /dev/random that need the system's administrator: add entropy, and use it at once.
const (
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// reseed adds entropy to the kernel's, which is that of each other copy of the snapshot.
func reseed(seed []byte) error {
	if len(seed) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/random", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	arg := binary.NativeEndian.AppendUint32(nil, uint32(8*len(seed)))
	arg = binary.NativeEndian.AppendUint32(arg, uint32(len(seed)))
	arg = append(arg, seed...)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
		return fmt.Errorf("add entropy: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0); errno != 0 {
		return fmt.Errorf("reseed: %w", errno)
	}
	return nil
}

// networkCard is the name of the one network card.
const networkCard = "eth0"

// configure gives the network card its address, and takes those away that it has from a snapshot.
func configure(n link.Network) error {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo)
	}
	card, err := netlink.LinkByName(networkCard)
	if err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	mac, err := net.ParseMAC(n.MAC)
	if err != nil {
		return err
	}
	if card.Attrs().HardwareAddr.String() != mac.String() {
		if err := netlink.LinkSetHardwareAddr(card, mac); err != nil {
			return fmt.Errorf("address of the network card: %w", err)
		}
	}
	if n.MTU > 0 {
		if err := netlink.LinkSetMTU(card, n.MTU); err != nil {
			return fmt.Errorf("MTU of the network card: %w", err)
		}
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil { // The operator's kernel has no IPv6.
		n.Gateway6, n.Addresses = "", slices.DeleteFunc(slices.Clone(n.Addresses), func(a string) bool { return strings.Contains(a, ":") })
	}
	if err := quiet(); err != nil {
		return err
	}
	have, err := netlink.AddrList(card, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, addr := range have {
		if !slices.Contains(n.Addresses, addr.IPNet.String()) {
			if err := netlink.AddrDel(card, &addr); err != nil {
				return err
			}
		}
	}
	for _, text := range n.Addresses {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD // It can be used at once: no other guest has it.
		}
		if err := netlink.AddrReplace(card, addr); err != nil {
			return fmt.Errorf("address %s: %w", text, err)
		}
	}
	if err := netlink.LinkSetUp(card); err != nil {
		return err
	}
	return errors.Join(settleGateway(card, netlink.FAMILY_V4, n.Gateway), settleGateway(card, netlink.FAMILY_V6, n.Gateway6))
}

// quiet has the card take no addresses and routes from others, and generate none: a kernel without IPv6 is fine.
func quiet() error {
	for _, pair := range [][2]string{{"addr_gen_mode", "1"}, {"accept_ra", "0"}, {"accept_redirects", "0"}} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+networkCard+"/"+pair[0], []byte(pair[1]), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// settleGateway makes the default route of a family the one by a gateway, or takes away the one that is there from a snapshot.
func settleGateway(card netlink.Link, family int, gateway string) error {
	if gateway != "" {
		route := &netlink.Route{LinkIndex: card.Attrs().Index, Gw: net.ParseIP(gateway)}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route by %s: %w", gateway, err)
		}
	}
	routes, err := netlink.RouteList(card, family)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Gw == nil || r.Gw.Equal(net.ParseIP(gateway)) || r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil {
			return fmt.Errorf("route by %s: %w", r.Gw, err)
		}
	}
	return nil
}

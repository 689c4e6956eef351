//go:build linux

package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
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
	have, err := netlink.AddrList(card, netlink.FAMILY_V4)
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
		if err := netlink.AddrReplace(card, addr); err != nil {
			return fmt.Errorf("address %s: %w", text, err)
		}
	}
	if err := netlink.LinkSetUp(card); err != nil {
		return err
	}
	if n.Gateway == "" {
		return nil
	}
	route := &netlink.Route{LinkIndex: card.Attrs().Index, Gw: net.ParseIP(n.Gateway)}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route by %s: %w", n.Gateway, err)
	}
	return nil
}

//go:build linux

// Package tap joins the network card of a microVM with the one network card of a network namespace: what arrives at one leaves by the
// other. The namespace's own addresses and rules stay as they are, and its kernel sees none of the packets. It may import vm/microvm/link.
package tap

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// device is the name of the TAP device in each namespace.
const device = "tap0"

// Open makes the TAP device of the present namespace, and joins it with the network card there. The device ends with the last copy of
// the file, which the caller closes. The network is what the guest's card has to be.
func Open() (*os.File, link.Network, error) {
	card, network, err := find()
	if err != nil {
		return nil, link.Network{}, err
	}
	file, err := open()
	if err != nil {
		return nil, link.Network{}, fmt.Errorf("TAP device: %w", err)
	}
	if err := join(card); err != nil {
		file.Close()
		return nil, link.Network{}, err
	}
	return file, network, nil
}

// find returns the only network card with an address, and what it is.
func find() (netlink.Link, link.Network, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, link.Network{}, err
	}
	for _, l := range links {
		if l.Attrs().Flags&net.FlagLoopback != 0 || l.Attrs().Name == device {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return nil, link.Network{}, err
		}
		if len(addrs) == 0 {
			continue
		}
		network := link.Network{MAC: l.Attrs().HardwareAddr.String(), MTU: l.Attrs().MTU}
		six, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return nil, link.Network{}, err
		}
		for _, addr := range append(addrs, six...) {
			if !addr.IP.IsLinkLocalUnicast() {
				network.Addresses = append(network.Addresses, addr.IPNet.String())
			}
		}
		if network.Gateway, err = gateway(l, netlink.FAMILY_V4); err != nil {
			return nil, link.Network{}, err
		}
		if network.Gateway6, err = gateway(l, netlink.FAMILY_V6); err != nil {
			return nil, link.Network{}, err
		}
		return l, network, nil
	}
	return nil, link.Network{}, errors.New("the network namespace has no network card with an address")
}

// gateway is that of the default route by a card; empty without one.
func gateway(card netlink.Link, family int) (string, error) {
	routes, err := netlink.RouteList(card, family)
	if err != nil {
		return "", err
	}
	for _, route := range routes {
		if route.Gw != nil && (route.Dst == nil || route.Dst.IP.IsUnspecified()) {
			return route.Gw.String(), nil
		}
	}
	return "", nil
}

func open() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), device), nil // Not before it is a device: it could not be polled.
}

// join passes packets on in both directions. What an earlier device left at the card is replaced.
func join(card netlink.Link) error {
	tap, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(tap, card.Attrs().MTU); err != nil {
		return fmt.Errorf("MTU of the TAP device: %w", err)
	}
	// Or the namespace's kernel would send to the guest: reports of multicast groups, and what IPv6 does with a new link.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return err
	}
	for _, way := range []struct{ from, to netlink.Link }{{card, tap}, {tap, card}} {
		if err := pass(way.from, way.to); err != nil {
			return fmt.Errorf("pass packets from %s to %s: %w", way.from.Attrs().Name, way.to.Attrs().Name, err)
		}
	}
	return nil
}

func pass(from, to netlink.Link) error {
	queue := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: from.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := netlink.QdiscDel(queue); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := netlink.QdiscAdd(queue); err != nil {
		return fmt.Errorf("ingress queue: %w", err)
	}
	return netlink.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: from.Attrs().Index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	})
}

//go:build linux

// Package links makes the network of a sandbox from that of a network namespace on the host.
//
// It may import vm/gvisor/control, internal/netns, netlink and golang.org/x/sys; only the
// driver imports it.
package links

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm/gvisor/control"
)

// Take returns the network of a sandbox that is like a network namespace: its interfaces that are up,
// with addresses and routes. The sandbox has the addresses from then
// on, so they are taken from the host's interfaces, which lose the routes with them; a packet
// socket on each carries what the sandbox sends and receives. The caller closes the result.
func Take(namespace *os.File) (n *control.Network, err error) {
	err = netns.In(namespace, func() error {
		n, err = take()
		return err
	})
	return n, err
}

// ofHost exists for threads in the first network namespace of a host only.
const ofHost = "/proc/sys/net/core/dev_weight"

// inside fails if the thread is in the network namespace in which mark exists.
func inside(mark string) error {
	if err := unix.Access(mark, unix.F_OK); err != unix.ENOENT {
		return errors.Join(errors.New("a sandbox cannot have the network of the host"), err)
	}
	return nil
}

func take() (*control.Network, error) {
	if err := inside(ofHost); err != nil {
		return nil, err
	}
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	n := &control.Network{}
	var used []netlink.Link
	for _, link := range all {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagUp == 0 {
			continue
		}
		added, err := add(n, link)
		if err != nil {
			return nil, fmt.Errorf("interface %s: %w", attrs.Name, err)
		}
		if added {
			used = append(used, link)
		}
	}
	// The addresses go when all that can fail has been done: a start that is repeated finds none.
	for i, link := range used {
		if err := open(n, &n.FDBasedLinks[i], link); err != nil {
			n.Close()
			return nil, fmt.Errorf("interface %s: open a packet socket: %w", link.Attrs().Name, err)
		}
	}
	for i, link := range used {
		err := removeAddresses(link, n.FDBasedLinks[i].Addresses)
		if err == nil {
			err = attach(n.Files[i], link)
		}
		if err != nil {
			n.Close()
			return nil, fmt.Errorf("interface %s: take its addresses: %w", link.Attrs().Name, err)
		}
	}
	return n, nil
}

// add adds what an interface has to n. It reports whether it is one of FDBasedLinks then.
func add(n *control.Network, link netlink.Link) (bool, error) {
	attrs := link.Attrs()
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, err
	}
	var addresses []control.IPWithPrefix
	for _, a := range addrs {
		prefix, _ := a.Mask.Size()
		addresses = append(addresses, control.IPWithPrefix{Address: a.IP, PrefixLen: prefix})
	}
	loopback := attrs.Flags&net.FlagLoopback != 0
	if !loopback && len(addresses) == 0 {
		return false, nil
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, err
	}
	if loopback {
		addLoopback(n, attrs.Name, addresses, routes)
		return false, nil
	}
	l := control.FDBasedLink{Name: attrs.Name, MTU: attrs.MTU, Addresses: addresses, LinkAddress: attrs.HardwareAddr,
		Routes: toRoutes(routes), RXChecksumOffload: true, QDisc: control.QDiscFIFO, NumChannels: 1}
	neighbors, err := netlink.NeighList(attrs.Index, 0)
	if err != nil {
		return false, err
	}
	for _, neighbor := range neighbors {
		if neighbor.State == netlink.NUD_PERMANENT { // The others are found again.
			l.Neighbors = append(l.Neighbors, control.Neighbor{IP: neighbor.IP, HardwareAddr: neighbor.HardwareAddr})
		}
	}
	n.FDBasedLinks = append(n.FDBasedLinks, l)
	return true, nil
}

// addLoopback adds a loopback interface. The kernel has the routes to its own addresses in another
// table than the one that is read.
func addLoopback(n *control.Network, name string, addresses []control.IPWithPrefix, routes []netlink.Route) {
	l := control.LoopbackLink{Name: name, Addresses: addresses}
	for _, a := range addresses {
		mask := net.CIDRMask(a.PrefixLen, bits(a.Address))
		l.Routes = append(l.Routes, control.Route{Destination: net.IPNet{IP: a.Address.Mask(mask), Mask: mask}})
	}
	l.Routes = append(l.Routes, toRoutes(routes)...)
	n.LoopbackLinks = append(n.LoopbackLinks, l)
}

// toRoutes are routes as a sandbox takes them. A default one is a route to everything.
func toRoutes(routes []netlink.Route) (all []control.Route) {
	for _, r := range routes {
		to := r.Dst
		if to == nil { // In some versions of the library.
			to = &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
			if r.Family == netlink.FAMILY_V6 {
				to = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
			}
		}
		all = append(all, control.Route{Destination: net.IPNet{IP: to.IP.Mask(to.Mask), Mask: to.Mask}, Gateway: r.Gw, MTU: uint32(r.MTU)})
	}
	return all
}

func bits(ip net.IP) int {
	if ip.To4() != nil {
		return 8 * net.IPv4len
	}
	return 8 * net.IPv6len
}

// removeAddresses takes addresses from an interface. One that is not there any more is taken already.
func removeAddresses(link netlink.Link, addresses []control.IPWithPrefix) error {
	for _, a := range addresses {
		of := net.IPNet{IP: a.Address, Mask: net.CIDRMask(a.PrefixLen, bits(a.Address))}
		err := netlink.AddrDel(link, &netlink.Addr{IPNet: &of})
		if err == nil {
			continue
		}
		left, listErr := netlink.AddrList(link, netlink.FAMILY_ALL)
		if listErr != nil || slices.ContainsFunc(left, func(l netlink.Addr) bool { return l.IPNet.String() == of.String() }) {
			return errors.Join(err, listErr)
		}
	}
	return nil
}

// socketBuffer holds bursts of packets: the kernel's default is 208 KiB.
const socketBuffer = 4 << 20

// softwareSegment is the largest segment that the sandbox divides itself where the host's
// interface cannot.
const softwareSegment = 1 << 16

// open opens the packet socket of a link, which gets nothing until it is attached.
func open(n *control.Network, l *control.FDBasedLink, link netlink.Link) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	n.Files = append(n.Files, os.NewFile(uintptr(fd), "packets of "+l.Name))
	segments, err := segmentation(fd, l.Name)
	if err != nil {
		return err
	}
	if segments {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		l.GSOMaxSize = link.Attrs().GSOMaxSize
	}
	if l.GSOMaxSize == 0 {
		l.GSOMaxSize, l.GVisorGSOEnabled = softwareSegment, true
	}
	for force, usual := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, usual, socketBuffer) // As much as the host allows.
		}
	}
	return nil
}

// attach has a packet socket get what comes in by a link.
func attach(socket *os.File, link netlink.Link) error {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // In the byte order of the network.
	return unix.Bind(int(socket.Fd()), &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
}

package links

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// AwaitUp waits until a link whose two ends are set up can send. The kernel
// enables the end that was set up first a little later, and drops what is sent
// before: a connection would begin with a second of waiting for its second try.
//
// It asks again and again instead of subscribing to the kernel's messages: they
// come for every link of the router, so that many slots made at once would each
// receive all the others', and a full socket buffer loses the one that counts.
// The kernel is done within a step or two.
func AwaitUp(h *netlink.Handle, name string) error {
	const step, most = 200 * time.Microsecond, 2 * time.Second
	again := time.NewTicker(step)
	defer again.Stop()
	expired := time.After(most)
	for {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-again.C:
		case <-expired:
			return fmt.Errorf("link %s does not come up: %v", name, link.Attrs().OperState)
		}
	}
}

// BringUp gives a link its end of a /30, if any, and sets it up.
func BringUp(h *netlink.Handle, name string, addr netip.Addr) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if addr.IsValid() {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(slash30.Bits, 32)}}
		if err := h.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %v to %s: %w", addr, name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// AddDefaultRoute adds the IPv4 default route of a namespace.
func AddDefaultRoute(h *netlink.Handle, via netip.Addr) error {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if err := h.RouteReplace(&netlink.Route{Dst: settle.IPNet(all), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("add default route via %v: %w", via, err)
	}
	return nil
}

// Delete removes a link and so its peer. A link that is gone is fine.
func Delete(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !Gone(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// retiredGroup is the group of links that DeleteAll deletes.
const retiredGroup = 1

// DeleteAll removes links of the namespace ns, by names, and so their peers. Those that are
// gone are fine. The kernel waits once for all of them.
func DeleteAll(ns *os.File, h *netlink.Handle, names []string) error {
	for _, name := range names {
		link, err := h.LinkByName(name)
		if err == nil {
			err = h.LinkSetGroup(link, retiredGroup)
		}
		if err != nil && !Gone(err) {
			return fmt.Errorf("retire link %s: %w", name, err)
		}
	}
	err := namespace.In(ns, func() error {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(retiredGroup)))
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil && !Gone(err) { // Another call may have taken ours along.
		return fmt.Errorf("delete links: %w", err)
	}
	return nil
}

// Gone reports whether an error says that a link is not there.
func Gone(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

// Subnets lists the links whose names are of a kind, with their IPv4 subnets; one that was not
// finished has no valid subnet.
func Subnets(h *netlink.Handle, kind func(name string) bool) (map[string]netip.Prefix, error) {
	links, err := settle.Whole(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := settle.Whole(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	subnet := map[int]netip.Prefix{}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			ones, _ := a.Mask.Size()
			subnet[a.LinkIndex] = netip.PrefixFrom(ip, ones).Masked()
		}
	}
	out := map[string]netip.Prefix{}
	for _, l := range links {
		if name := l.Attrs().Name; kind(name) {
			out[name] = subnet[l.Attrs().Index]
		}
	}
	return out, nil
}

// SettleSink makes a link that takes packets and sends none: its peer is never up. It returns the index of
// the link; below zero if it was lost and is not to be mended.
func SettleSink(h *netlink.Handle, name, peer string, mend bool) (index int, err error) {
	link, err := h.LinkByName(name)
	if err != nil && !Gone(err) {
		return -1, err
	}
	const flags = unix.IFF_UP | unix.IFF_NOARP
	if err == nil && link.Attrs().RawFlags&flags == flags {
		return link.Attrs().Index, nil
	}
	if !mend {
		return -1, nil
	}
	if err := errors.Join(Delete(h, name), Delete(h, peer)); err != nil {
		return -1, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		return -1, fmt.Errorf("add link %s: %w", name, err)
	}
	if link, err = h.LinkByName(name); err != nil {
		return -1, err
	}
	return link.Attrs().Index, errors.Join(h.LinkSetARPOff(link), h.LinkSetUp(link))
}

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// router is the namespace with the host ends of all slots.
type router struct {
	ns    *os.File
	links *netlink.Handle
	// switches are read by settle, which is called by one at a time.
	switches *settle.Watched
}

// openRouter opens the router namespace bound to path, or makes it. found
// reports which.
func openRouter(path string, slotRange netip.Prefix) (r *router, found bool, err error) {
	ns, found, err := namespace.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open router namespace: %w", err)
	}
	if !found {
		if err := namespace.Remove(path); err != nil {
			return nil, false, fmt.Errorf("clear router namespace: %w", err)
		}
		if err := namespace.Create(path, setUpRouter); err != nil {
			return nil, false, fmt.Errorf("create router namespace: %w", err)
		}
		var ok bool
		if ns, ok, err = namespace.Open(path); err != nil || !ok {
			return nil, false, fmt.Errorf("open new router namespace: %w", errors.Join(err, namespace.Remove(path)))
		}
	}
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, false, fmt.Errorf("open netlink in router namespace: %w", err)
	}
	r = &router{ns: ns, links: links, switches: settle.Watch(ns)}
	if _, err := r.settle(slotRange, true); err != nil {
		r.close()
		if !found {
			err = errors.Join(err, namespace.Remove(path))
		}
		return nil, false, fmt.Errorf("set up router namespace: %w", err)
	}
	return r, found, nil
}

// setUpRouter runs inside the new router namespace. It does what is done once;
// settle does the rest.
func setUpRouter() error {
	if err := namespace.DisableIPv6(); err != nil {
		return err
	}
	// Errors for refused packets go to the guest that sent them, one for one:
	// the usual limit would turn "refused" into a timeout.
	for key, value := range map[string]string{
		"ipv4/icmp_ratelimit":              "0",
		"ipv4/conf/all/send_redirects":     "0",
		"ipv4/conf/default/send_redirects": "0",
		"ipv4/conf/all/accept_redirects":   "0",
		"ipv4/conf/all/arp_ignore":         "1",
		"ipv4/conf/default/rp_filter":      "1",
	} {
		if err := namespace.WriteSysctl(key, value); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func (r *router) close() {
	r.switches.Close()
	r.links.Close()
	r.ns.Close()
}

// connect makes the veth pair of a slot. It runs inside the slot's namespace;
// the other end appears in the router, already filtered.
func (r *router) connect(id string, subnet netip.Prefix) error {
	if err := namespace.DisableIPv6(); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	err = h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: id, PeerNamespace: netlink.NsFd(r.ns.Fd())})
	if err != nil {
		return fmt.Errorf("add veth pair: %w", err)
	}
	if err := bringUp(r.links, id, slash30.Near(subnet)); err != nil {
		return err
	}
	if err := bringUp(h, "eth0", slash30.Far(subnet)); err != nil {
		return err
	}
	if err := bringUp(h, "lo", netip.Addr{}); err != nil {
		return err
	}
	if err := namespace.LoopbackIPv6(); err != nil {
		return fmt.Errorf("turn IPv6 on for lo: %w", err)
	}
	if err := addDefaultRoute(h, slash30.Near(subnet)); err != nil {
		return err
	}
	return errors.Join(awaitUp(r.links, id), awaitUp(h, "eth0"))
}

// awaitUp waits until a link whose two ends are set up can send. The kernel
// enables the end that was set up first a little later, and drops what is sent
// before: a connection would begin with a second of waiting for its second try.
//
// It asks again and again instead of subscribing to the kernel's messages: they
// come for every link of the router, so that many slots made at once would each
// receive all the others', and a full socket buffer loses the one that counts.
// The kernel is done within a step or two.
func awaitUp(h *netlink.Handle, name string) error {
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

// bringUp gives a link its end of a /30, if any, and sets it up.
func bringUp(h *netlink.Handle, name string, addr netip.Addr) error {
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

func addDefaultRoute(h *netlink.Handle, via netip.Addr) error {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if err := h.RouteReplace(&netlink.Route{Dst: settle.IPNet(all), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("add default route via %v: %w", via, err)
	}
	return nil
}

// deleteLink removes a link and so its peer. A link that is gone is fine.
func deleteLink(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkDel(link)
	}
	if err != nil && !linkGone(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// retiredGroup is the group of links that deleteSlots deletes.
const retiredGroup = 1

// deleteSlots removes the links of slots, and so their peers. Those that are
// gone are fine. The kernel waits once for all of them.
func (r *router) deleteSlots(ids []string) error {
	for _, id := range ids {
		link, err := r.links.LinkByName(id)
		if err == nil {
			err = r.links.LinkSetGroup(link, retiredGroup)
		}
		if err != nil && !linkGone(err) {
			return fmt.Errorf("retire link %s: %w", id, err)
		}
	}
	err := namespace.In(r.ns, func() error {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(retiredGroup)))
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil && !linkGone(err) { // Another call may have taken ours along.
		return fmt.Errorf("delete the links of slots: %w", err)
	}
	return nil
}

func linkGone(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.As(err, &gone) || errors.Is(err, unix.ENODEV)
}

// slots lists the host ends of slots with their subnets; one that was not
// finished has no valid subnet.
func (r *router) slots() (map[string]netip.Prefix, error) {
	links, err := settle.Whole(r.links.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list router links: %w", err)
	}
	addrs, err := settle.Whole(func() ([]netlink.Addr, error) { return r.links.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("list router addresses: %w", err)
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
		if name := l.Attrs().Name; isSlotID(name) {
			out[name] = subnet[l.Attrs().Index]
		}
	}
	return out, nil
}

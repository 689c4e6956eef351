package ipv6

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// Uplink is the link between the router and the daemon's namespace, which exists already with its two ends.
type Uplink struct {
	// Host and Router are of the two namespaces, and Name and Inside are the names of the ends there.
	Host, Router                 *netlink.Handle
	HostSwitches, InsideSwitches *settle.Watched
	Name, Inside                 string
	Prefix, Subnet               netip.Prefix // Of the instance, and the IPv4 /30 of the link.
	Permit                       uint32       // The bit of the mark of permitted packets.
	Table, Priority              int          // Of the routing rules in the daemon's namespace.
}

// gateway is the router's next hop. No link has it: the neighbour is fixed.
var gateway = netip.MustParseAddr("fe80::1")

// someInternet is any global address.
var someInternet = netip.MustParseAddr("2001:4860:4860::8888")

// Address is the router's address in the daemon's namespace, and all guests have it there.
func (u Uplink) Address() netip.Addr { return At(u.Prefix, slash30.Far(u.Subnet)) }

// subnet is what the daemon's namespace routes to the router.
func (u Uplink) subnet() netip.Prefix { return netip.PrefixFrom(u.Address(), 128) }

// Settle makes the link, its addresses and the routes over it what they should be.
func (u Uplink) Settle(mend bool) (lost bool, err error) {
	return settle.Each(mend, u.settleClosed,
		func(mend bool) (bool, error) { return turnOn(u.HostSwitches, mend, u.Name) },
		func(mend bool) (bool, error) { return turnOn(u.InsideSwitches, mend, u.Inside) },
		u.settleBack, u.SettleWay)
}

// settleClosed closes the way to the router and that from it to all but permitted packets. So what permits is a rule that is there.
func (u Uplink) settleClosed(mend bool) (lost bool, err error) {
	return settle.Each(mend,
		settle.Route(u.Host, &netlink.Route{Dst: settle.IPNet(u.subnet()), Type: unix.RTN_BLACKHOLE}),
		func(mend bool) (bool, error) { return settle.Rules6(u.Host, mend, u.rules(), u.isOurs) })
}

// rules are the ways that there are to the router: for what is permitted, and for this machine's own errors, such as
// a packet being too big. From the router comes what is permitted.
func (u Uplink) rules() []netlink.Rule {
	mask, to := u.Permit, settle.IPNet(u.subnet())
	list := []netlink.Rule{
		{Table: u.Table, Dst: to, Mark: u.Permit, Mask: &mask},
		{Table: u.Table, Dst: to, IifName: "lo", IPProto: unix.IPPROTO_ICMPV6},
		{Type: unix.RTN_BLACKHOLE, IifName: u.Name, Mark: 0, Mask: &mask},
	}
	for i := range list {
		list[i].Priority = u.Priority
	}
	return list
}

func (u Uplink) isOurs(r netlink.Rule) bool {
	to := settle.IPNet(u.subnet()).String()
	return r.Priority == u.Priority && (r.IifName == u.Name || r.Table == u.Table && r.Dst != nil && r.Dst.String() == to)
}

// ends are the two links.
func (u Uplink) ends() (host, router netlink.Link, err error) {
	if host, err = u.Host.LinkByName(u.Name); err != nil {
		return nil, nil, fmt.Errorf("find link %s: %w", u.Name, err)
	}
	if router, err = u.Router.LinkByName(u.Inside); err != nil {
		return nil, nil, fmt.Errorf("find link %s: %w", u.Inside, err)
	}
	return host, router, nil
}

// settleBack makes the way to the router.
func (u Uplink) settleBack(mend bool) (lost bool, err error) {
	host, err := u.Host.LinkByName(u.Name)
	if err != nil {
		return false, fmt.Errorf("find link %s: %w", u.Name, err)
	}
	return settleRoute(u.Host, mend, netlink.Route{Dst: settle.IPNet(u.subnet()), LinkIndex: host.Attrs().Index, Table: u.Table})
}

// SettleWay makes the way of the router out, and fixes the neighbours on the link: neither end answers a question for its
// address. It is for each look: the kernel reports no loss of a neighbour, and looks of the daemon's namespace alone miss the rest.
func (u Uplink) SettleWay(mend bool) (lost bool, err error) {
	host, router, err := u.ends()
	if err != nil {
		return false, err
	}
	return settle.Each(mend,
		func(mend bool) (bool, error) {
			// Where a packet would go, and from which address, is what the kernel is asked, so that everything on the way counts.
			out, err := u.Router.RouteGetWithOptions(someInternet.AsSlice(), &netlink.RouteGetOptions{Mark: u.Permit})
			if err == nil && len(out) == 1 && out[0].LinkIndex == router.Attrs().Index && out[0].Gw.Equal(gateway.AsSlice()) && out[0].Src.Equal(u.Address().AsSlice()) {
				return false, nil
			}
			if !mend {
				return true, nil
			}
			if err := addAddr(u.Router, u.Inside, u.subnet()); err != nil {
				return true, err
			}
			all := settle.IPNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
			if err := u.Router.RouteReplace(&netlink.Route{Dst: all, LinkIndex: router.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
				return true, fmt.Errorf("add default route of IPv6: %w", err)
			}
			return true, nil
		},
		func(mend bool) (bool, error) {
			return settleNeighbor(u.Router, mend, router, gateway, host.Attrs().HardwareAddr)
		},
		func(mend bool) (bool, error) {
			return settleNeighbor(u.Host, mend, host, u.Address(), router.Attrs().HardwareAddr)
		},
	)
}

// settleRoute makes the route to a destination in a table lead to a link.
func settleRoute(h *netlink.Handle, mend bool, want netlink.Route) (lost bool, err error) {
	to, _ := settle.RoutePrefix(want)
	list, err := settle.Whole(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: want.Table}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return false, fmt.Errorf("list routes of IPv6: %w", err)
	}
	if slices.ContainsFunc(list, func(r netlink.Route) bool {
		p, ok := settle.RoutePrefix(r)
		return ok && p == to && r.LinkIndex == want.LinkIndex
	}) {
		return false, nil
	}
	if mend {
		if err := h.RouteReplace(&want); err != nil {
			return true, fmt.Errorf("add route to %v: %w", to, err)
		}
	}
	return true, nil
}

// settleNeighbor fixes that an address on a link is that of its other end.
func settleNeighbor(h *netlink.Handle, mend bool, link netlink.Link, addr netip.Addr, peer net.HardwareAddr) (lost bool, err error) {
	want := netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_INET6, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: peer,
	}
	list, err := settle.Whole(func() ([]netlink.Neigh, error) { return h.NeighList(want.LinkIndex, unix.AF_INET6) })
	if err != nil {
		return false, fmt.Errorf("list neighbours: %w", err)
	}
	if slices.ContainsFunc(list, func(n netlink.Neigh) bool {
		return n.IP.Equal(want.IP) && n.State&netlink.NUD_PERMANENT != 0 && n.HardwareAddr.String() == want.HardwareAddr.String()
	}) {
		return false, nil
	}
	if mend {
		if err := h.NeighSet(&want); err != nil {
			return true, fmt.Errorf("set neighbour %v: %w", addr, err)
		}
	}
	return true, nil
}

// Withdraw takes the router's way to the daemon's namespace, which has IPv6 no more: packets are refused visibly instead of
// being lost there.
func (u Uplink) Withdraw() error {
	if !Supported() {
		return nil
	}
	all := settle.IPNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	err := u.Router.RouteDel(&netlink.Route{Dst: all, Gw: gateway.AsSlice(), Table: unix.RT_TABLE_MAIN})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete default route of IPv6: %w", err)
	}
	return nil
}

// Remove undoes what Settle added to the routing of the daemon's namespace; what is bound to the link goes with it.
func (u Uplink) Remove() error {
	if !Supported() {
		return nil
	}
	if _, err := settle.Rules6(u.Host, true, nil, u.isOurs); err != nil {
		return err
	}
	err := u.Host.RouteDel(&netlink.Route{Dst: settle.IPNet(u.subnet()), Type: unix.RTN_BLACKHOLE, Table: unix.RT_TABLE_MAIN})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route to %v: %w", u.subnet(), err)
	}
	return nil
}

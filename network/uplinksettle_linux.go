package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/record"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// settle makes every part of the uplink what it should be, whatever it is: when
// it is made, at the start of a later process, and after a loss. deep also looks
// at what costs more and is reported by the kernel when it changes. What belongs
// to a machine that has changed, and is not a loss, is done also without mend. The
// caller holds mu.
func (u *uplink) settle(deep, mend bool) (lost []string, err error) {
	if deep {
		if err := u.follow(); err != nil {
			return nil, err
		}
	}
	return settle.Parts(mend,
		// Rules and routes first: the link is filtered from the moment it exists.
		settle.Part{What: LostHostRules, Settle: u.settleRules},
		settle.Part{What: LostHostRoutes, Settle: func(mend bool) (bool, error) {
			return settle.Each(mend, u.settleClosed, func(mend bool) (bool, error) {
				return settle.Rules(u.links, mend, u.wantRules(), u.isOurs(u.rec.Subnet))
			})
		}},
		settle.Part{What: LostUplink, Settle: u.settleLink},
		settle.Part{What: LostUplinkAddress, Settle: func(mend bool) (bool, error) { return u.settleAddresses(deep, mend) }},
		settle.Part{What: LostUplink, Settle: u.settleShape},
		settle.Part{What: LostForwarding, Settle: u.settleForwarding},
		settle.Part{What: LostHostRoutes, Settle: u.settleWay},
		settle.Part{What: LostHostRoutes, Settle: func(mend bool) (bool, error) {
			switch {
			case !deep && !u.on6:
				return false, nil
			case !deep:
				return u.link6(u.rec.Subnet).SettleWay(mend)
			case !u.on6:
				return false, u.link6(u.rec.Subnet).Withdraw()
			}
			return u.link6(u.rec.Subnet).Settle(mend)
		}},
	)
}

// follow notes what of the daemon's namespace decides over rules and switches:
// its own addresses, and the interfaces by which the internet is reached. A
// machine that got its network after the daemon started, or changed from a cable
// to a radio, has another one. It adds to what is recorded and takes nothing
// away: remove restores them all.
func (u *uplink) follow() error {
	own, resolvers, err := u.findOwn()
	if err != nil {
		return fmt.Errorf("list the daemon's own addresses: %w", err)
	}
	if err := u.announce(own); err != nil {
		return err
	}
	outside, err := links.Outside(u.links, u.cfg.Nameservers)
	if err != nil {
		return err
	}
	added := false
	rec := record.Uplink{Subnet: u.rec.Subnet, Forwarding: maps.Clone(u.rec.Forwarding)}
	for _, name := range outside {
		if _, known := rec.Forwarding[name]; known || name == u.name() {
			continue
		}
		old, err := u.sysctl("ipv4/conf/"+name+"/forwarding", "")
		if errors.Is(err, os.ErrNotExist) {
			continue // It is gone again.
		}
		if err != nil {
			return err
		}
		rec.Forwarding[name], added = old, true
	}
	if added {
		// Forwarding is changed only where it is recorded, so that it can be undone.
		if err := u.save(rec); err != nil {
			return err
		}
		u.rec = rec
	}
	if u.rules.Want != "" && !added && slices.Equal(own, u.own) && slices.Equal(resolvers, u.resolvers) {
		return nil
	}
	u.rules.Renew()
	u.own, u.resolvers, u.rules.Want = own, resolvers, ""
	if _, err := settle.Rules(u.links, true, u.wantRules(), u.isOurs(u.rec.Subnet)); err != nil {
		return err
	}
	return u.writeRules()
}

// The link is closed by routing, too: the daemon's namespace knows no way to
// the router but for packets that its rules permitted, and takes packets only
// from where it knows the way back. Without its table nothing comes in by the
// link, to whatever address, and nothing leaves unmasqueraded.

// settleClosed keeps the router's subnet from being routed as all others are.
func (u *uplink) settleClosed(mend bool) (lost bool, err error) {
	subnet := u.rec.Subnet
	// The kernel's own route to it, of an earlier version or of a user that gave
	// the link its address again, is the way that must not be.
	routes, err := u.links.RouteGet(slash30.Far(subnet).AsSlice())
	if err == nil {
		for _, r := range routes {
			link, err := u.links.LinkByName(u.name())
			if err != nil || r.LinkIndex != link.Attrs().Index {
				continue
			}
			if lost = true; !mend {
				return lost, nil
			}
			way := netlink.Route{Dst: settle.IPNet(subnet), LinkIndex: r.LinkIndex, Table: unix.RT_TABLE_MAIN, Scope: unix.RT_SCOPE_NOWHERE} // Of any scope.
			if err := u.links.RouteDel(&way); err != nil && !errors.Is(err, unix.ESRCH) {
				return lost, fmt.Errorf("delete route to %v: %w", subnet, err)
			}
		}
	}
	was, err := settle.Route(u.links, &netlink.Route{Dst: settle.IPNet(subnet), Type: unix.RTN_BLACKHOLE})(mend)
	return lost || was, err
}

// wantRules are the routing rules of the daemon's namespace: the ways to the
// router that there are. Beside what was permitted those are the namespace's
// own ICMP errors, such as a packet being too big for the way outside, and the
// answers of a configured name server that runs on this machine.
func (u *uplink) wantRules() []netlink.Rule {
	mask, subnet := uint32(permitBit), settle.IPNet(u.rec.Subnet)
	list := []netlink.Rule{
		{Table: uplinkTable, Dst: subnet, Mark: permitBit, Mask: &mask},
		{Table: uplinkTable, Dst: subnet, IifName: "lo", IPProto: unix.IPPROTO_ICMP},
	}
	for _, a := range u.resolvers {
		for _, proto := range []int{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			list = append(list, netlink.Rule{
				Table: uplinkTable, Dst: subnet, Src: settle.IPNet(netip.PrefixFrom(a, 32)), IifName: "lo",
				IPProto: proto, Sport: netlink.NewRulePortRange(53, 53),
			})
		}
	}
	for i := range list {
		list[i].Priority = uplinkPriority
	}
	return list
}

// link6 is the part of the link that is about IPv6.
func (u *uplink) link6(subnet netip.Prefix) ipv6.Uplink {
	return ipv6.Uplink{
		Host: u.links, Router: u.router.links, HostSwitches: u.forwarding, InsideSwitches: u.router.switches, Name: u.name(), Inside: uplinkRouter,
		Prefix: u.cfg.prefix6(), Subnet: subnet, Permit: permitBit, Table: uplinkTable, Priority: uplinkPriority,
	}
}

// address6 is the address that all guests have in the daemon's namespace, as routerInHost, of IPv6.
func (u *uplink) address6(subnet netip.Prefix) netip.Addr {
	return ipv6.At(u.cfg.prefix6(), slash30.Far(subnet))
}

// look6 notes whether the daemon's namespace has IPv6 for guests, and returns what it takes for itself.
func (u *uplink) look6() (own []netip.Prefix, err error) {
	on, own, err := ipv6.Look(u.host, u.links)
	u.on6 = on && u.cfg.Uplink == UplinkAuto
	return own, err
}

// has6 reports whether the daemon's namespace has IPv6 for guests.
func (u *uplink) has6() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.on6
}

func (u *uplink) isOurs(subnet netip.Prefix) func(netlink.Rule) bool {
	return func(r netlink.Rule) bool {
		return r.Priority == uplinkPriority && r.Table == uplinkTable && r.Dst != nil && r.Dst.String() == settle.IPNet(subnet).String()
	}
}

// removeRoutes undoes what settle added to the routing of the daemon's
// namespace; what is bound to the link goes with it.
func (u *uplink) removeRoutes(subnet netip.Prefix) error {
	if !subnet.IsValid() {
		return nil
	}
	if err := u.link6(subnet).Remove(); err != nil {
		return err
	}
	if _, err := settle.Rules(u.links, true, nil, u.isOurs(subnet)); err != nil {
		return err
	}
	err := u.links.RouteDel(&netlink.Route{Dst: settle.IPNet(subnet), Type: unix.RTN_BLACKHOLE})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route to %v: %w", subnet, err)
	}
	return nil
}

// settleForwarding turns forwarding on for the interfaces that need it.
func (u *uplink) settleForwarding(mend bool) (lost bool, err error) {
	want := map[string]string{"ipv4/conf/" + u.name() + "/forwarding": "1"}
	for name := range u.rec.Forwarding {
		want["ipv4/conf/"+name+"/forwarding"] = "1"
	}
	return u.forwarding.Sysctls(mend, want)
}

// settleWay makes the ways over the link, in both directions. Where the packet
// would go is what the kernel is asked, so that everything on the way counts:
// the routing rules, the routes, the addresses and the links.
func (u *uplink) settleWay(mend bool) (lost bool, err error) {
	subnet := u.rec.Subnet
	host, err := u.links.LinkByName(u.name())
	if err != nil {
		return false, err
	}
	router, err := u.router.links.LinkByName(uplinkRouter)
	if err != nil {
		return false, err
	}
	marked := &netlink.RouteGetOptions{Mark: permitBit}
	back, err := u.links.RouteGetWithOptions(slash30.Far(subnet).AsSlice(), marked)
	if err != nil || len(back) != 1 || back[0].LinkIndex != host.Attrs().Index {
		if lost = true; mend {
			err := u.links.RouteReplace(&netlink.Route{
				Dst: settle.IPNet(subnet), LinkIndex: host.Attrs().Index, Table: uplinkTable, Scope: unix.RT_SCOPE_LINK, Src: slash30.Near(subnet).AsSlice(),
			})
			if err != nil {
				return lost, fmt.Errorf("add route to %v: %w", subnet, err)
			}
		}
	}
	out, err := u.router.links.RouteGetWithOptions(someInternet.AsSlice(), marked)
	if err != nil || len(out) != 1 || out[0].LinkIndex != router.Attrs().Index || !out[0].Gw.Equal(slash30.Near(subnet).AsSlice()) {
		if lost = true; mend {
			if err := links.AddDefaultRoute(u.router.links, slash30.Near(subnet)); err != nil {
				return lost, err
			}
		}
	}
	// The daemon's namespace answers no question for its address: the router's
	// question is not permitted there.
	want := netlink.Neigh{
		LinkIndex: router.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: slash30.Near(subnet).AsSlice(), HardwareAddr: host.Attrs().HardwareAddr,
	}
	known, err := u.router.links.NeighList(router.Attrs().Index, unix.AF_INET)
	if err != nil {
		return lost, fmt.Errorf("list neighbours: %w", err)
	}
	if !slices.ContainsFunc(known, func(n netlink.Neigh) bool {
		return n.IP.Equal(want.IP) && n.State&netlink.NUD_PERMANENT != 0 && n.HardwareAddr.String() == want.HardwareAddr.String()
	}) {
		if lost = true; mend {
			if err := u.router.links.NeighSet(&want); err != nil {
				return lost, fmt.Errorf("set neighbour %v: %w", slash30.Near(subnet), err)
			}
		}
	}
	return lost, nil
}

// someInternet is an unassigned address that guests may reach: what its route is
// holds for the internet.
var someInternet = netip.MustParseAddr("192.0.2.1")

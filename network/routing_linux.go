package network

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/settle"
)

const (
	// refusedLink is where the router routes what no rule has permitted: there
	// the filter refuses it, so that the guest gets an error, and without the filter it
	// is gone.
	refusedLink  = "refused"
	refusedPeer  = "refused1" // Never up, so that nothing is sent.
	refusedTable = 100
	// uplinkTable has the route to the router, in the daemon's namespace. All
	// instances share it: their subnets differ.
	uplinkTable = 19819
	// uplinkPriority is that of our routing rules in the daemon's namespace: after
	// the kernel's local table, and before all others.
	uplinkPriority = 1
)

// settle makes the router's routing and switches what they should be, whatever
// they are: those of a new router, of an earlier version, or after a loss.
func (r *router) settle(slotRange netip.Prefix, mend bool) (lost []string, err error) {
	return settle.Parts(mend,
		settle.Part{What: LostRouterSettings, Settle: func(mend bool) (bool, error) {
			return r.switches.Sysctls(mend, map[string]string{
				"ipv4/ip_forward":              "1",
				"ipv4/conf/all/rp_filter":      "1",
				"ipv4/conf/all/src_valid_mark": "1", // The way back is looked up with the mark.
				"ipv6/conf/all/disable_ipv6":   "1",
			})
		}},
		settle.Part{What: LostRouterRoutes, Settle: func(mend bool) (bool, error) {
			link, err := links.SettleSink(r.links, refusedLink, refusedPeer, mend)
			if err != nil || link < 0 {
				return link < 0, err
			}
			on, err := ipv6.SettleSwitches(r.switches, mend, refusedLink)
			if err != nil {
				return on, err
			}
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			lost, err := settle.Each(mend,
				// An answer to a slot that is gone must not leave by the default route.
				settle.Route(r.links, &netlink.Route{Dst: settle.IPNet(slotRange), Type: unix.RTN_BLACKHOLE}),
				settle.Route(r.links, &netlink.Route{Dst: settle.IPNet(all), LinkIndex: link, Table: refusedTable, Scope: unix.RT_SCOPE_LINK}),
				func(mend bool) (bool, error) {
					return settle.Rules(r.links, mend, routerRules(), func(rule netlink.Rule) bool { return rule.Table != unix.RT_TABLE_LOCAL })
				},
				func(mend bool) (bool, error) {
					return ipv6.SettleRoutes(r.links, mend, r.prefix6, routerRules(), refusedTable, link)
				},
			)
			return on || lost, err
		}},
	)
}

// routerRules are the router's routing rules after that of the local table. The
// router's own packets, those of the daemon, go where they want; packets that
// come in need the permit bit. The way back to a guest is looked up as if the
// packet came from the link that it will leave by, also if that is the refused.
func routerRules() []netlink.Rule {
	mask := uint32(permitBit)
	list := []netlink.Rule{
		{Table: unix.RT_TABLE_MAIN, Mark: permitBit, Mask: &mask},
		{Table: unix.RT_TABLE_MAIN, IifName: "lo"},
		{Table: unix.RT_TABLE_MAIN, IifName: refusedLink},
		{Table: refusedTable},
	}
	for i := range list {
		list[i].Priority = 100 + i
	}
	return list
}

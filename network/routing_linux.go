package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
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

// part is something that can be lost. settle looks whether it is as it should
// be and, if not and mend is true, makes it so. lost is how it was.
type part struct {
	what   string
	settle func(mend bool) (lost bool, err error)
}

// settle goes through parts in order, up to the first failure.
func settle(mend bool, parts ...part) (lost []string, err error) {
	for _, p := range parts {
		was, err := p.settle(mend)
		if was {
			lost = append(lost, p.what)
		}
		if err != nil {
			return lost, fmt.Errorf("%s: %w", strings.ReplaceAll(p.what, "_", " "), err)
		}
	}
	return lost, nil
}

// settle makes the router's routing and switches what they should be, whatever
// they are: those of a new router, of an earlier version, or after a loss.
func (r *router) settle(slotRange netip.Prefix, mend bool) (lost []string, err error) {
	return settle(mend,
		part{LostRouterSettings, func(mend bool) (bool, error) {
			return settleSysctls(r.ns, mend, map[string]string{
				"ipv4/ip_forward":              "1",
				"ipv4/conf/all/rp_filter":      "1",
				"ipv4/conf/all/src_valid_mark": "1", // The way back is looked up with the mark.
				"ipv6/conf/all/disable_ipv6":   "1",
			})
		}},
		part{LostRouterRoutes, func(mend bool) (bool, error) {
			link, err := settleRefused(r.links, mend)
			if err != nil || link < 0 {
				return link < 0, err
			}
			all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			return settleEach(mend,
				// An answer to a slot that is gone must not leave by the default route.
				routeStep(r.links, &netlink.Route{Dst: ipNet(slotRange), Type: unix.RTN_BLACKHOLE}),
				routeStep(r.links, &netlink.Route{Dst: ipNet(all), LinkIndex: link, Table: refusedTable, Scope: unix.RT_SCOPE_LINK}),
				func(mend bool) (bool, error) {
					return settleRules(r.links, mend, routerRules(), func(rule netlink.Rule) bool { return rule.Table != unix.RT_TABLE_LOCAL })
				},
			)
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

// settleEach does steps in order, up to the first failure.
func settleEach(mend bool, steps ...func(mend bool) (bool, error)) (lost bool, err error) {
	for _, step := range steps {
		was, err := step(mend)
		if lost = lost || was; err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// settleRefused returns the index of the refused link; below zero if it was
// lost and is not to be mended.
func settleRefused(h *netlink.Handle, mend bool) (index int, err error) {
	link, err := h.LinkByName(refusedLink)
	if err != nil && !linkGone(err) {
		return -1, err
	}
	const flags = unix.IFF_UP | unix.IFF_NOARP
	if err == nil && link.Attrs().RawFlags&flags == flags {
		return link.Attrs().Index, nil
	}
	if !mend {
		return -1, nil
	}
	if err := errors.Join(deleteLink(h, refusedLink), deleteLink(h, refusedPeer)); err != nil {
		return -1, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = refusedLink
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: refusedPeer}); err != nil {
		return -1, fmt.Errorf("add link %s: %w", refusedLink, err)
	}
	if link, err = h.LinkByName(refusedLink); err != nil {
		return -1, err
	}
	return link.Attrs().Index, errors.Join(h.LinkSetARPOff(link), h.LinkSetUp(link))
}

// routeStep adds a route that is not there.
func routeStep(h *netlink.Handle, route *netlink.Route) func(mend bool) (bool, error) {
	return func(mend bool) (bool, error) {
		if !mend {
			table := netlink.Route{Table: cmp.Or(route.Table, unix.RT_TABLE_MAIN)}
			routes, err := h.RouteListFiltered(unix.AF_INET, &table, netlink.RT_FILTER_TABLE)
			want, _ := routePrefix(*route)
			return !slices.ContainsFunc(routes, func(r netlink.Route) bool { p, ok := routePrefix(r); return ok && p == want }), err
		}
		// Exclusive: an existing one is left as it is, and no notification is sent.
		err := h.RouteAdd(route)
		if errors.Is(err, unix.EEXIST) {
			return false, nil
		}
		return true, err
	}
}

// settleRules makes the routing rules that are mine exactly the wanted ones.
// Those that are missing come before those that are too many go.
func settleRules(h *netlink.Handle, mend bool, want []netlink.Rule, mine func(netlink.Rule) bool) (lost bool, err error) {
	have, err := h.RuleList(unix.AF_INET)
	if err != nil {
		return false, fmt.Errorf("list routing rules: %w", err)
	}
	have = slices.DeleteFunc(have, func(r netlink.Rule) bool { return !mine(r) })
	known := map[string]bool{}
	for _, r := range have {
		known[ruleKey(r)] = true
	}
	for _, r := range want {
		if key := ruleKey(r); known[key] {
			known[key] = false
			continue
		}
		if lost = true; !mend {
			return lost, nil
		}
		add := netlink.NewRule()
		add.Priority, add.Table, add.Mark, add.Mask = r.Priority, r.Table, r.Mark, r.Mask
		add.IifName, add.Src, add.Dst, add.IPProto, add.Sport = r.IifName, r.Src, r.Dst, r.IPProto, r.Sport
		if err := h.RuleAdd(add); err != nil && !errors.Is(err, unix.EEXIST) {
			return lost, fmt.Errorf("add routing rule %v: %w", r, err)
		}
	}
	for _, r := range have {
		if !known[ruleKey(r)] {
			continue
		}
		if lost = true; !mend {
			return lost, nil
		}
		if err := h.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return lost, fmt.Errorf("delete routing rule %v: %w", r, err)
		}
	}
	return lost, nil
}

func ruleKey(r netlink.Rule) string {
	mask, ports := uint32(0), ""
	if r.Mask != nil {
		mask = *r.Mask
	}
	if r.Sport != nil {
		ports = fmt.Sprint(*r.Sport)
	}
	return fmt.Sprint(r.Priority, r.Table, r.Mark, mask, r.IifName, r.OifName, r.Src, r.Dst, r.IPProto, ports, r.Invert)
}

// settleSysctls gives net.* keys of a namespace their values. Keys that do not
// exist, as those of IPv6 on a kernel without it, are left out.
func settleSysctls(ns *os.File, mend bool, want map[string]string) (lost bool, err error) {
	err = namespace.In(ns, func() error {
		for key, value := range want {
			b, err := os.ReadFile(filepath.Join("/proc/sys/net", key))
			if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(b)) == value {
				continue
			}
			if lost = true; err == nil && mend {
				err = namespace.WriteSysctl(key, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return lost, err
}

package ipv6

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// subnetBits is the length of the subnet of a link: that of a /30 of IPv4.
const subnetBits = 128 - 32 + slash30.Bits

// turnOn turns IPv6 on for a link of a namespace, without an address yet, and without belief in routers.
func turnOn(switches *settle.Watched, mend bool, link string) (lost bool, err error) {
	conf := "ipv6/conf/" + link + "/"
	return settle.Each(mend, func(mend bool) (bool, error) {
		return switches.Sysctls(mend, map[string]string{conf + "addr_gen_mode": "1", conf + "accept_ra": "0", conf + "accept_redirects": "0"})
	}, func(mend bool) (bool, error) {
		return switches.Sysctls(mend, map[string]string{conf + "disable_ipv6": "0"})
	})
}

// writeOn is turnOn for the calling thread's namespace. Without IPv6 it is an error.
func writeOn(link string) error {
	for _, pair := range [][2]string{{"addr_gen_mode", "1"}, {"accept_ra", "0"}, {"accept_redirects", "0"}, {"disable_ipv6", "0"}} {
		if err := namespace.WriteSysctl(filepath.Join("ipv6/conf", link, pair[0]), pair[1]); err != nil {
			return fmt.Errorf("turn IPv6 on for %s: %w", link, err)
		}
	}
	return nil
}

// Supported reports whether the kernel has IPv6, with routing rules: without those (CONFIG_IPV6_MULTIPLE_TABLES) guests have none.
func Supported() bool {
	_, err := os.Stat("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return err == nil && hasRules()
}

var hasRules = sync.OnceValue(func() bool {
	_, err := settle.Whole(func() ([]netlink.Rule, error) { return netlink.RuleList(unix.AF_INET6) })
	return listed(err)
})

// listed reports whether a list of routing rules ended as it does where there can be some.
func listed(err error) bool {
	return !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP)
}

// SettleSwitches makes the switches of the router what they should be. refused is the link where packets go that no rule has permitted.
func SettleSwitches(switches *settle.Watched, mend bool, refused string) (lost bool, err error) {
	if !Supported() {
		return false, nil
	}
	return settle.Each(mend, func(mend bool) (bool, error) {
		return switches.Sysctls(mend, map[string]string{
			"ipv6/conf/all/forwarding": "1",
			// Errors for refused packets go to the guest that sent them, one for one.
			"ipv6/icmp/ratelimit": "0",
		})
	}, func(mend bool) (bool, error) { return turnOn(switches, mend, refused) })
}

// SettleRoutes makes the routing of the router what it should be, by the same rules as that of IPv4. What is not
// permitted goes by table to the link with index refused.
func SettleRoutes(h *netlink.Handle, mend bool, prefix netip.Prefix, rules []netlink.Rule, table, refused int) (lost bool, err error) {
	if !Supported() {
		return false, nil
	}
	all := settle.IPNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	return settle.Each(mend,
		// An answer to a slot that is gone must not leave by the default route.
		settle.Route(h, &netlink.Route{Dst: settle.IPNet(prefix), Type: unix.RTN_BLACKHOLE}),
		settle.Route(h, &netlink.Route{Dst: all, LinkIndex: refused, Table: table}),
		func(mend bool) (bool, error) {
			return settle.Rules6(h, mend, rules, func(r netlink.Rule) bool { return r.Table != unix.RT_TABLE_LOCAL })
		},
	)
}

// addAddr gives a link an address that can be used at once.
func addAddr(h *netlink.Handle, name string, addr netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	err = h.AddrAdd(link, &netlink.Addr{IPNet: settle.IPNet(addr), Flags: unix.IFA_F_NODAD})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %v to %s: %w", addr, name, err)
	}
	return nil
}

// Connect gives the link of a slot its addresses, before it is up: the router's end id, and eth0, whose namespace h
// is of and the calling thread is in.
func Connect(h *netlink.Handle, router *os.File, links *netlink.Handle, id string, prefix netip.Prefix, subnet netip.Prefix) error {
	if err := near(router, links, id, prefix, subnet); err != nil {
		return err
	}
	if err := writeOn("eth0"); err != nil {
		return err
	}
	return addAddr(h, "eth0", netip.PrefixFrom(At(prefix, slash30.Far(subnet)), subnetBits))
}

// near gives the router's end of a slot's link its address.
func near(router *os.File, links *netlink.Handle, id string, prefix, subnet netip.Prefix) error {
	if err := namespace.In(router, func() error { return writeOn(id) }); err != nil {
		return err
	}
	return addAddr(links, id, netip.PrefixFrom(At(prefix, slash30.Near(subnet)), subnetBits))
}

// AddDefault adds the default route of a slot, whose link is up. Both ends are fixed as neighbours, so that none has to ask:
// gVisor takes that over. links is of the router, where id is the other end.
func AddDefault(h, links *netlink.Handle, id string, prefix, subnet netip.Prefix) error {
	router, err := links.LinkByName(id)
	if err != nil {
		return fmt.Errorf("find link %s: %w", id, err)
	}
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find link eth0: %w", err)
	}
	if _, err := settleNeighbor(h, true, eth0, At(prefix, slash30.Near(subnet)), router.Attrs().HardwareAddr); err != nil {
		return err
	}
	if _, err := settleNeighbor(links, true, router, At(prefix, slash30.Far(subnet)), eth0.Attrs().HardwareAddr); err != nil {
		return err
	}
	all := settle.IPNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	if err := h.RouteReplace(&netlink.Route{Dst: all, Gw: At(prefix, slash30.Near(subnet)).AsSlice()}); err != nil {
		return fmt.Errorf("add default route of IPv6: %w", err)
	}
	return nil
}

// SettleNear makes the router's end of a slot's link what Connect and AddDefault have made of it, beside IPv4. slot is the
// slot's namespace. The link is up.
func SettleNear(router, slot *os.File, links *netlink.Handle, id string, prefix, subnet netip.Prefix) error {
	if err := near(router, links, id, prefix, subnet); err != nil {
		return err
	}
	link, err := links.LinkByName(id)
	if err != nil {
		return fmt.Errorf("find link %s: %w", id, err)
	}
	var peer net.HardwareAddr
	err = namespace.In(slot, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err == nil {
			peer = eth0.Attrs().HardwareAddr
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("find link eth0: %w", err)
	}
	_, err = settleNeighbor(links, true, link, At(prefix, slash30.Far(subnet)), peer)
	return err
}

// Near is the state of a link of the router towards a slot: the address there, and the slot as a neighbour; not valid if lost.
type Near struct{ Addr, Neighbor netip.Addr }

// Whole reports whether nothing is lost of the link of a slot.
func (n Near) Whole(prefix, subnet netip.Prefix) bool {
	return n == Near{At(prefix, slash30.Near(subnet)), At(prefix, slash30.Far(subnet))}
}

// Has reports whether Connect has given the slot with this namespace IPv6. What is lost of its link makes no difference.
func Has(slot *os.File) (bool, error) {
	var off string
	err := namespace.In(slot, func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
		off = strings.TrimSpace(string(b))
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return off == "0", err
}

// Linked has the links of the router, by index, that have an address or a neighbour of the prefix.
func Linked(links *netlink.Handle, prefix netip.Prefix) (map[int]Near, error) {
	addrs, err := settle.Whole(func() ([]netlink.Addr, error) { return links.AddrList(nil, unix.AF_INET6) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of IPv6: %w", err)
	}
	neighbors, err := settle.Whole(func() ([]netlink.Neigh, error) { return links.NeighList(0, unix.AF_INET6) })
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	has := map[int]Near{}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && prefix.Contains(ip) {
			has[a.LinkIndex] = Near{Addr: ip}
		}
	}
	for _, a := range neighbors {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && prefix.Contains(ip) && a.State&netlink.NUD_PERMANENT != 0 {
			has[a.LinkIndex] = Near{Addr: has[a.LinkIndex].Addr, Neighbor: ip}
		}
	}
	return has, nil
}

// Unused reports whether a daemon's namespace has a way to the internet that guests do not get, since it does not forward.
func Unused(host *os.File) (bool, error) {
	links, err := netlink.NewHandleAt(netns.NsHandle(host.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer links.Close()
	way, forwards, _, err := look(host, links)
	return way && !forwards, err
}

// Look reports whether the daemon's namespace, of which links is, has IPv6 for guests: a way to the internet, and it forwards.
// own are its own addresses, and the subnets of its links: like the private addresses of IPv4, those are its neighbours.
func Look(host *os.File, links *netlink.Handle) (on bool, own []netip.Prefix, err error) {
	way, forwards, own, err := look(host, links)
	return way && forwards, own, err
}

func look(host *os.File, links *netlink.Handle) (way, forwards bool, own []netip.Prefix, err error) {
	if !Supported() {
		return false, false, nil, nil
	}
	var text string
	err = namespace.In(host, func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/forwarding")
		text = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		return false, false, nil, err
	}
	routes, err := settle.Routes6(links)
	if err != nil {
		return false, false, nil, fmt.Errorf("list routes of IPv6: %w", err)
	}
	for _, r := range routes {
		p, ok := settle.RoutePrefix(r)
		switch {
		case !ok || !p.Addr().Is6():
		case r.Type == unix.RTN_LOCAL || r.Type == unix.RTN_ANYCAST:
			own = append(own, p.Masked())
		case r.Type != unix.RTN_UNICAST:
		case p.Bits() <= global.Bits() && p.Overlaps(global): // All of the internet.
			way = true
		case len(r.Gw) == 0 && r.Via == nil && len(r.MultiPath) == 0 && p.Bits() >= shortestLink:
			own = append(own, p.Masked())
		}
	}
	var b netipx.IPSetBuilder
	for _, p := range own {
		if p.Overlaps(global) {
			b.AddPrefix(p)
		}
	}
	set, err := b.IPSet() // An address within the subnet of a link, which may be a temporary one, does not count.
	if err != nil {
		return false, false, nil, err
	}
	return way, text == "1", set.Prefixes(), nil
}

// shortestLink is the shortest prefix that is taken for the subnet of a link: a shorter one is a way to many networks.
const shortestLink = 32

package links

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// FreeSubnet picks a /30 of a range: the first, from a start that depends
// on a name, that overlaps no route of the namespace. Addresses
// have routes, so those are covered.
func FreeSubnet(h *netlink.Handle, within netip.Prefix, name string) (netip.Prefix, error) {
	routes, err := settle.Routes(h)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list routes: %w", err)
	}
	candidates := slash30.New(within)
	hash := fnv.New32a()
	hash.Write([]byte(name))
	candidates.Next = hash.Sum32() % candidates.Size()
next:
	for range candidates.Size() {
		p, err := candidates.Take()
		if err != nil {
			break
		}
		for _, r := range routes {
			if dst, ok := settle.RoutePrefix(r); ok && dst.Bits() > 0 && dst.Overlaps(p) {
				continue next
			}
		}
		return p, nil
	}
	return netip.Prefix{}, fmt.Errorf("no free /%d in %v", slash30.Bits, within)
}

func isDefaultRoute(r netlink.Route) bool {
	p, ok := settle.RoutePrefix(r)
	return ok && p.Bits() == 0 && (r.Type == 0 || r.Type == unix.RTN_UNICAST)
}

// Outside lists the interfaces by which the internet and hosts are reached, over IPv4: answers come in there.
func Outside(h *netlink.Handle, hosts []netip.Addr) ([]string, error) {
	routes, err := settle.Whole(func() ([]netlink.Route, error) { return h.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	indexes := map[int]bool{}
	for _, r := range routes {
		if isDefaultRoute(r) {
			indexes[r.LinkIndex] = true
			for _, hop := range r.MultiPath {
				indexes[hop.LinkIndex] = true
			}
		}
	}
	for _, a := range hosts {
		routes, err := h.RouteGet(a.AsSlice())
		if err != nil {
			continue // No way to this one: not a reason to have none.
		}
		for _, r := range routes {
			indexes[r.LinkIndex] = true
		}
	}
	var names []string
	for i := range indexes {
		if i == 0 {
			continue
		}
		link, err := h.LinkByIndex(i)
		if err != nil {
			return nil, fmt.Errorf("find link %d: %w", i, err)
		}
		if name := link.Attrs().Name; name != "lo" {
			names = append(names, name)
		}
	}
	return names, nil
}

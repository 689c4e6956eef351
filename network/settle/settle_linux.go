package settle

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// Each does steps in order, up to the first failure.
func Each(mend bool, steps ...func(mend bool) (bool, error)) (lost bool, err error) {
	for _, step := range steps {
		was, err := step(mend)
		if lost = lost || was; err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// Address gives a link an IPv4 address with its prefix and flags, and that alone,
// and sets it up.
func Address(h *netlink.Handle, name string, addr netip.Prefix, flags int, mend bool) (lost bool, err error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return false, fmt.Errorf("find link %s: %w", name, err)
	}
	have, err := Whole(func() ([]netlink.Addr, error) { return h.AddrList(link, unix.AF_INET) })
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	want := &netlink.Addr{IPNet: IPNet(addr), Flags: flags}
	if len(have) == 1 && have[0].Equal(*want) && have[0].Flags&unix.IFA_F_NOPREFIXROUTE == flags && link.Attrs().RawFlags&unix.IFF_UP != 0 {
		return false, nil
	}
	if !mend {
		return true, nil
	}
	for _, a := range have {
		if err := h.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return true, fmt.Errorf("delete address %v of %s: %w", a.IPNet, name, err)
		}
	}
	if err := h.AddrAdd(link, want); err != nil {
		return true, fmt.Errorf("add address %v to %s: %w", addr.Addr(), name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return true, fmt.Errorf("set %s up: %w", name, err)
	}
	return true, nil
}

// Route returns a step that adds a route that is not there, by its destination.
func Route(h *netlink.Handle, route *netlink.Route) func(mend bool) (bool, error) {
	return func(mend bool) (bool, error) {
		if !mend {
			table := netlink.Route{Table: cmp.Or(route.Table, unix.RT_TABLE_MAIN)}
			routes, err := Whole(func() ([]netlink.Route, error) {
				return h.RouteListFiltered(familyOf(route), &table, netlink.RT_FILTER_TABLE)
			})
			want, _ := RoutePrefix(*route)
			return !slices.ContainsFunc(routes, func(r netlink.Route) bool { p, ok := RoutePrefix(r); return ok && p == want }), err
		}
		// Exclusive: an existing one is left as it is, and no notification is sent.
		err := h.RouteAdd(route)
		if errors.Is(err, unix.EEXIST) {
			return false, nil
		}
		return true, err
	}
}

func familyOf(route *netlink.Route) int {
	if p, ok := RoutePrefix(*route); ok && p.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Rules makes the IPv4 routing rules that are mine exactly the wanted ones, and Rules6 those of IPv6.
// Those that are missing come before those that are too many go.
func Rules(h *netlink.Handle, mend bool, want []netlink.Rule, mine func(netlink.Rule) bool) (lost bool, err error) {
	return rules(unix.AF_INET, h, mend, want, mine)
}
func Rules6(h *netlink.Handle, mend bool, want []netlink.Rule, mine func(netlink.Rule) bool) (lost bool, err error) {
	return rules(unix.AF_INET6, h, mend, want, mine)
}

func rules(family int, h *netlink.Handle, mend bool, want []netlink.Rule, mine func(netlink.Rule) bool) (lost bool, err error) {
	have, err := Whole(func() ([]netlink.Rule, error) { return h.RuleList(family) })
	if err != nil {
		return false, fmt.Errorf("list routing rules: %w", err)
	}
	have = slices.DeleteFunc(have, func(r netlink.Rule) bool { return !mine(r) })
	known := map[string]bool{}
	for _, r := range have {
		known[RuleKey(r)] = true
	}
	for _, r := range want {
		if key := RuleKey(r); known[key] {
			known[key] = false
			continue
		}
		if lost = true; !mend {
			return lost, nil
		}
		add := netlink.NewRule()
		add.Family, add.Type = family, r.Type
		add.Priority, add.Table, add.Mark, add.Mask = r.Priority, r.Table, r.Mark, r.Mask
		add.IifName, add.Src, add.Dst, add.IPProto, add.Sport = r.IifName, r.Src, r.Dst, r.IPProto, r.Sport
		if err := h.RuleAdd(add); err != nil && !errors.Is(err, unix.EEXIST) {
			return lost, fmt.Errorf("add routing rule %v: %w", r, err)
		}
	}
	for _, r := range have {
		if !known[RuleKey(r)] {
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

// RuleKey is equal for routing rules that are the same for Rules.
func RuleKey(r netlink.Rule) string {
	mask, ports := uint32(0), ""
	if r.Mask != nil {
		mask = *r.Mask
	}
	if r.Sport != nil {
		ports = fmt.Sprint(*r.Sport)
	}
	return fmt.Sprint(r.Priority, r.Table, r.Mark, mask, r.IifName, r.OifName, r.Src, r.Dst, r.IPProto, ports, r.Invert)
}

// Sysctls gives net.* keys of a namespace their values. Keys that do not
// exist, as those of IPv6 on a kernel without it, are left out.
func Sysctls(ns *os.File, mend bool, want map[string]string) (lost bool, err error) {
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

// RoutePrefix is the destination of a route; ok is false if it has another. Without one it is all of IPv4, unless the
// route is of IPv6.
func RoutePrefix(r netlink.Route) (p netip.Prefix, ok bool) {
	if r.Dst == nil && r.Family == unix.AF_INET6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
	}
	if r.Dst == nil {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	ip := r.Dst.IP
	if v4 := ip.To4(); v4 != nil && len(r.Dst.Mask) == net.IPv4len {
		ip = v4
	}
	addr, ok := netip.AddrFromSlice(ip)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr, ones), ok
}

// IPNet is a prefix as the netlink library has it.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

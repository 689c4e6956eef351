package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settleLink makes the veth pair, unless both ends are there and up.
func (u *uplink) settleLink(mend bool) (lost bool, err error) {
	host, err := u.links.LinkByName(u.name())
	if err == nil {
		var router netlink.Link
		if router, err = u.router.links.LinkByName(uplinkRouter); err == nil &&
			host.Attrs().ParentIndex == router.Attrs().Index && router.Attrs().ParentIndex == host.Attrs().Index {
			return u.settleUp(mend, host, router)
		}
	}
	if err != nil && !linkGone(err) {
		return false, err
	}
	if !mend {
		return true, nil
	}
	if err := errors.Join(deleteLink(u.links, u.name()), deleteLink(u.router.links, uplinkRouter)); err != nil {
		return true, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = u.name()
	err = u.links.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: uplinkRouter, PeerNamespace: netlink.NsFd(u.router.ns.Fd()),
	})
	if err != nil {
		return true, fmt.Errorf("add link %s: %w", u.name(), err)
	}
	return true, nil // It is set up when it is closed and has its address.
}

// settleUp sets both ends up that were up.
func (u *uplink) settleUp(mend bool, host, router netlink.Link) (lost bool, err error) {
	for h, link := range map[*netlink.Handle]netlink.Link{u.links: host, u.router.links: router} {
		if link.Attrs().RawFlags&unix.IFF_UP != 0 {
			continue
		}
		if lost = true; mend {
			err = errors.Join(err, h.LinkSetUp(link))
		}
	}
	return lost, err
}

// settleAddresses gives both ends their addresses and sets them up. The daemon's
// end gets no route by its address: see settleClosed.
func (u *uplink) settleAddresses(deep, mend bool) (lost bool, err error) {
	closed, err := settleSysctls(u.host, mend, map[string]string{
		"ipv4/conf/" + u.name() + "/rp_filter":      "1", // Where 2 holds for all it is 2, which does it, too.
		"ipv4/conf/" + u.name() + "/src_valid_mark": "1",
		"ipv6/conf/" + u.name() + "/disable_ipv6":   "1",
	})
	if err != nil || !deep && !closed {
		return closed, err
	}
	lost = closed
	for _, end := range []struct {
		h     *netlink.Handle
		name  string
		addr  netip.Addr
		flags int
	}{
		{u.links, u.name(), near(u.rec.Subnet), unix.IFA_F_NOPREFIXROUTE},
		{u.router.links, uplinkRouter, far(u.rec.Subnet), 0},
	} {
		was, err := settleAddress(end.h, end.name, end.addr, end.flags, mend)
		if lost = lost || was; err != nil {
			return lost, err
		}
	}
	if lost && mend {
		return lost, errors.Join(awaitUp(u.links, u.name()), awaitUp(u.router.links, uplinkRouter))
	}
	return lost, nil
}

// settleAddress gives a link its end of a /30, and that alone, and sets it up.
func settleAddress(h *netlink.Handle, name string, addr netip.Addr, flags int, mend bool) (lost bool, err error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return false, fmt.Errorf("find link %s: %w", name, err)
	}
	have, err := h.AddrList(link, unix.AF_INET)
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", name, err)
	}
	want := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, slotBits)), Flags: flags}
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
		return true, fmt.Errorf("add address %v to %s: %w", addr, name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return true, fmt.Errorf("set %s up: %w", name, err)
	}
	return true, nil
}

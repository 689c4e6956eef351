package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
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
	if err != nil && !links.Gone(err) {
		return false, err
	}
	if !mend {
		return true, nil
	}
	if err := errors.Join(links.Delete(u.links, u.name()), links.Delete(u.router.links, uplinkRouter)); err != nil {
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
	closed, err := u.switches.Sysctls(mend, map[string]string{
		"ipv4/conf/" + u.name() + "/rp_filter":      "1", // Where 2 holds for all it is 2, which does it, too.
		"ipv4/conf/" + u.name() + "/src_valid_mark": "1",
		"ipv6/conf/" + u.name() + "/disable_ipv6":   map[bool]string{true: "0", false: "1"}[u.on6],
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
		{u.links, u.name(), slash30.Near(u.rec.Subnet), unix.IFA_F_NOPREFIXROUTE},
		{u.router.links, uplinkRouter, slash30.Far(u.rec.Subnet), 0},
	} {
		was, err := settle.Address(end.h, end.name, netip.PrefixFrom(end.addr, slash30.Bits), end.flags, mend)
		if lost = lost || was; err != nil {
			return lost, err
		}
	}
	if lost && mend {
		return lost, errors.Join(links.AwaitUp(u.links, u.name()), links.AwaitUp(u.router.links, uplinkRouter))
	}
	return lost, nil
}

package network

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/namespace"
)

// A slot's link that is switched off, or its IPv6, works again after the repair, in both families.
func TestALinkOfASlotGetsItsIPv6Back(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n := w.openHealing()
	s := w.acquire(n.Network, allow)
	guest := w.guest(s)
	own := ipv6.At(n.cfg.prefix6(), s.GuestIP)
	w.alone(n.Network)
	link := func(do func(l netlink.Link) error) func() {
		return func() {
			w.in(n.router.ns, func() error {
				l, err := netlink.LinkByName(s.ID)
				if err != nil {
					return err
				}
				return do(l)
			})
		}
	}
	for _, loss := range []struct {
		name string
		loss func()
	}{
		{"the link is set down", link(func(l netlink.Link) error { return netlink.LinkSetDown(l) })},
		{"IPv6 is off", link(func(l netlink.Link) error { return namespace.WriteSysctl("ipv6/conf/"+s.ID+"/disable_ipv6", "1") })},
		{"IPv6 is off for all", link(func(l netlink.Link) error {
			if err := namespace.WriteSysctl("ipv6/conf/all/disable_ipv6", "0"); err != nil {
				return err
			}
			return namespace.WriteSysctl("ipv6/conf/all/disable_ipv6", "1")
		})},
		{"the address is gone", link(func(l netlink.Link) error {
			list, err := netlink.AddrList(l, unix.AF_INET6)
			for _, a := range list {
				if err := netlink.AddrDel(l, &a); err != nil {
					return err
				}
			}
			return err
		})},
		{"the neighbour is gone", link(func(l netlink.Link) error {
			return netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_INET6, IP: own.AsSlice()})
		})},
	} {
		loss.loss()
		n.calm()
		lost, err := n.watcher.settle(changes.Everything, true)
		if err != nil || len(lost) == 0 {
			t.Errorf("%s: repaired %v, %v", loss.name, lost, err)
		}
		if lost, err := n.watcher.settle(changes.Everything, false); err != nil || len(lost) != 0 {
			t.Errorf("%s: after the repair %v, %v", loss.name, lost, err)
		}
		for _, addr := range []string{in6(internet6, "80"), internetIP + ":80"} {
			if err := reachWithin(silence, guest, "tcp", addr); err != nil {
				t.Errorf("%s: %s: %v", loss.name, addr, err)
			}
		}
	}
}

// The same if the daemon was not there when it was lost.
func TestALinkOfASlotGetsItsIPv6BackFromTheNextDaemon(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 80)
	n := w.open(w.config())
	s, v4 := w.acquire(n, allow), Slot{}
	w.way6(false)
	eventually(t, "new slots have no IPv6", func() bool {
		v4 = w.acquire(n, allow)
		return !n.leases.slots[v4.ID].v6
	})
	w.way6(true)
	w.alone(n)
	w.in(n.router.ns, func() error {
		l, err := netlink.LinkByName(s.ID)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(t.Context(), []string{s.ID, v4.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if n.leases.slots[v4.ID].v6 {
		t.Error("a slot without IPv6 is taken for one with it")
	}
	eventually(t, "its IPv6 works again", func() bool {
		return reachWithin(silence/4, w.guest(s), "tcp", in6(internet6, "80")) == nil
	})
	w.reaches6(w.guest(s), in6(internet6, "80"))
}

package ipv6

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Forget removes the flows that were opened by guests from what two namespaces track: router and, where they were translated,
// host, which forgets first: while the router knows a flow, it gives its translation to no other. It can be repeated.
func Forget(router, host *os.File, guest func(netip.Addr) bool) error {
	out := map[flow]bool{}
	err := eachFlow(router, func(f *netlink.ConntrackFlow) {
		if source(f.Forward, guest) {
			out[flowOf(f.Reverse).inverse()] = true
		}
	})
	if err != nil || len(out) == 0 {
		return err
	}
	if err := deleteFlowsOf(host, func(f *netlink.ConntrackFlow) bool { return out[flowOf(f.Forward)] }); err != nil {
		return err
	}
	return deleteFlowsOf(router, func(f *netlink.ConntrackFlow) bool { return source(f.Forward, guest) })
}

// ForgetHostOnly removes the flows that host tracks from own, the address of all guests there, and router does not.
func ForgetHostOnly(router, host *os.File, own netip.Addr) error {
	from := func(a netip.Addr) bool { return a == own }
	lost := map[flow]bool{}
	// In this order: a flow is in the router before it is in the host.
	err := eachFlow(host, func(f *netlink.ConntrackFlow) {
		if source(f.Forward, from) {
			lost[flowOf(f.Forward)] = true
		}
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	if err := eachFlow(router, func(f *netlink.ConntrackFlow) { delete(lost, flowOf(f.Reverse).inverse()) }); err != nil || len(lost) == 0 {
		return err
	}
	return deleteFlowsOf(host, func(f *netlink.ConntrackFlow) bool { return source(f.Forward, from) && lost[flowOf(f.Forward)] })
}

// ForgetUntranslated removes the flows of a namespace from inside to outside whose answers would come from outside, and go to
// an address inside.
func ForgetUntranslated(ns *os.File, inside func(netip.Addr) bool) error {
	return deleteFlowsOf(ns, func(f *netlink.ConntrackFlow) bool {
		there, back := flowOf(f.Forward), flowOf(f.Reverse)
		return inside(there.from.Addr()) && !inside(there.to.Addr()) && !inside(back.from.Addr()) && inside(back.to.Addr())
	})
}

// ForgetFrom removes the flows of a namespace that an address has opened.
func ForgetFrom(ns *os.File, from netip.Addr) error {
	return deleteFlowsOf(ns, func(f *netlink.ConntrackFlow) bool {
		return source(f.Forward, func(a netip.Addr) bool { return a == from })
	})
}

// eachFlow visits the flows of a namespace. One may come twice.
func eachFlow(ns *os.File, visit func(*netlink.ConntrackFlow)) error {
	return deleteFlowsOf(ns, func(f *netlink.ConntrackFlow) bool { visit(f); return false })
}

func deleteFlowsOf(ns *os.File, which matcher) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open tracked flows: %w", err)
	}
	defer h.Close()
	return deleteFlows(h, which)
}

// flow identifies one by the addresses of one of its directions. ICMPv6 has no ports.
type flow struct {
	from, to netip.AddrPort
	proto    uint8
}

func flowOf(t netlink.IPTuple) flow {
	end := func(ip []byte, port uint16) netip.AddrPort {
		a, _ := netip.AddrFromSlice(ip)
		return netip.AddrPortFrom(a, port)
	}
	return flow{from: end(t.SrcIP, t.SrcPort), to: end(t.DstIP, t.DstPort), proto: t.Protocol}
}

func (f flow) inverse() flow { return flow{from: f.to, to: f.from, proto: f.proto} }

func source(t netlink.IPTuple, is func(netip.Addr) bool) bool {
	a, ok := netip.AddrFromSlice(t.SrcIP)
	return ok && is(a)
}

// matcher is a filter of the library that is a function.
type matcher func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m matcher) MatchConntrackFlow(f *netlink.ConntrackFlow) bool { return m(f) }

// attempts is how often a table is read that changes meanwhile.
const attempts = 20

func deleteFlows(h *netlink.Handle, which matcher) (err error) {
	for range attempts {
		if _, err = h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET6, which); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("delete tracked flows: %w", err)
	}
	return nil
}

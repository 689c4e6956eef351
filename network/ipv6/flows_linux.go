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
	inside, err := netlink.NewHandleAt(netns.NsHandle(router.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open tracked flows: %w", err)
	}
	defer inside.Close()
	out := map[flow]bool{}
	if err := deleteFlows(inside, func(f *netlink.ConntrackFlow) bool {
		if source(f.Forward, guest) {
			out[flowOf(f.Reverse).inverse()] = true
		}
		return false
	}); err != nil {
		return err
	}
	if len(out) == 0 {
		return nil
	}
	outside, err := netlink.NewHandleAt(netns.NsHandle(host.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open tracked flows: %w", err)
	}
	defer outside.Close()
	if err := deleteFlows(outside, func(f *netlink.ConntrackFlow) bool { return out[flowOf(f.Forward)] }); err != nil {
		return err
	}
	return deleteFlows(inside, func(f *netlink.ConntrackFlow) bool { return source(f.Forward, guest) })
}

// ForgetFrom removes the flows of a namespace that an address has opened.
func ForgetFrom(ns *os.File, from netip.Addr) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open tracked flows: %w", err)
	}
	defer h.Close()
	return deleteFlows(h, func(f *netlink.ConntrackFlow) bool {
		return source(f.Forward, func(a netip.Addr) bool { return a == from })
	})
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

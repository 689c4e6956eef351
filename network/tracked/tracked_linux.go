package tracked

import (
	"errors"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/ipv6"
)

// Flows are those of guests. Safe for concurrent use.
type Flows struct {
	// Guests is the range of all guests. Their flows are in the namespace Router and, where they were translated, in
	// Host, too. The caller owns both.
	Guests       netip.Prefix
	Router, Host *os.File
	// Prefix6 is that of the guests' IPv6 addresses; see ipv6.At.
	Prefix6 netip.Prefix
	// Known are the guests that exist.
	Known func() map[netip.Addr]bool
	// Own is the address that all guests have in Host; ok is false without a link to it.
	Own func() (a netip.Addr, ok bool, err error)
	// Suspect: rules were lost, or may have been, and flows may have begun without them.
	Suspect atomic.Bool
}

// Forget removes the flows that the kernel tracked for guests without a link,
// in the router and, where it was translated, in the daemon's namespace: else an
// entry stays for hours after its sandbox, and a full table takes the whole host
// off the network. One pass serves all guests; it can be repeated.
//
// v6 is whether any of them has IPv6, whose flows take another pass.
func (t *Flows) Forget(guests map[netip.Addr]bool, v6 bool) error {
	err := t.remove(guests, func(Flow) bool { return true })
	if v6 {
		err = errors.Join(err, t.forget6(func(guest netip.Addr) bool { return guests[guest] }))
	}
	return err
}

// forget6 removes the flows of IPv6 of guests, by their IPv4 addresses.
func (t *Flows) forget6(guest func(v4 netip.Addr) bool) error {
	router, err := conntrack.Open(t.Router)
	if err != nil {
		return err
	}
	count, err := router.Count()
	router.Close()
	if err != nil || count == 0 {
		return err
	}
	return ipv6.Forget(t.Router, t.Host, func(a netip.Addr) bool { return t.isGuest6(a) && guest(ipv6.IPv4(a)) })
}

// Flow is one that a guest has opened.
type Flow struct {
	Proto byte // Of IP.
	To    netip.AddrPort
	// Redirected is whether it goes to a server of the router.
	Redirected bool
}

// Cut removes flows of a guest. Packets of one that still come are those of a new flow.
func (t *Flows) Cut(guest netip.Addr, which func(Flow) bool) error {
	return t.remove(map[netip.Addr]bool{guest: true}, which)
}

func (t *Flows) remove(guests map[netip.Addr]bool, which func(Flow) bool) error {
	router, err := conntrack.Open(t.Router)
	if err != nil {
		return err
	}
	defer router.Close()
	// Usually there are none, and a pass reads each bucket of the kernel's table, 7 ms
	// of a processor for the 262144 of a large host, whatever is in it.
	if count, err := router.Count(); count == 0 {
		return err
	}
	var flows []translated
	err = router.Each(guests, func(orig, reply conntrack.Tuple) {
		if which(Flow{orig.Proto, netip.AddrPortFrom(netip.AddrFrom4(orig.Dst), orig.DstPort), orig.Dst != reply.Src}) {
			flows = append(flows, translated{orig, reply.Inverse()})
		}
	})
	if err != nil {
		return err
	}
	return t.delete(router, flows, nil)
}

// translated is a flow as the router sees it come in and go out.
type translated struct{ in, out conntrack.Tuple }

// delete removes flows of the router, and hostOnly of the daemon's namespace.
func (t *Flows) delete(router *conntrack.Table, flows []translated, hostOnly []conntrack.Tuple) error {
	inHost := hostOnly
	var inRouter []conntrack.Tuple
	for _, f := range flows {
		inRouter = append(inRouter, f.in)
		if f.out != f.in {
			inHost = append(inHost, f.out)
		}
	}
	if len(inHost) > 0 {
		host, err := conntrack.Open(t.Host)
		if err != nil {
			return err
		}
		defer host.Close()
		// While the router knows a flow, it gives its translation to no other
		// guest: the host forgets first.
		if err := host.Delete(inHost); err != nil {
			return err
		}
	}
	return router.Delete(inRouter)
}

// ForgetUntranslated removes the flows to the internet that began while rules were lost. The
// kernel decides about a translation at the first packet of a flow: with its own address a
// guest gets no answer, for as long as it sends. It does nothing unless rules were lost.
func (t *Flows) ForgetUntranslated() error {
	if !t.Suspect.Swap(false) {
		return nil
	}
	err := errors.Join(
		conntrack.DeleteUntranslated(t.Router, nil, t.Guests.Contains),
		ipv6.ForgetUntranslated(t.Router, t.isGuest6),
		t.forgetUntranslatedOfHost(),
	)
	if err != nil {
		t.Suspect.Store(true)
	}
	return err
}

func (t *Flows) forgetUntranslatedOfHost() error {
	own, ok, err := t.Own()
	if err != nil || !ok {
		return err
	}
	own6 := ipv6.At(t.Prefix6, own)
	return errors.Join(
		conntrack.DeleteUntranslated(t.Host, map[netip.Addr]bool{own: true}, func(a netip.Addr) bool { return a == own }),
		ipv6.ForgetUntranslated(t.Host, func(a netip.Addr) bool { return a == own6 }),
	)
}

// isGuest6 reports whether an address is a guest's of IPv6. The prefix has the router's address in Host, too.
func (t *Flows) isGuest6(a netip.Addr) bool {
	return t.Prefix6.Contains(a) && t.Guests.Contains(ipv6.IPv4(a))
}

// Sweep forgets the flows of addresses that no guest has, which a daemon that
// ended too early left, and those that the host tracks for guests although the
// router does not any more: its times are the shorter ones for flows that were
// there before the host's rules were written again.
func (t *Flows) Sweep() error {
	router, err := conntrack.Open(t.Router)
	if err != nil {
		return err
	}
	defer router.Close()
	// In this order: a flow is in the router before it is in the host, and a guest
	// is known before it has flows.
	lost, err := t.hostFlows()
	if err != nil {
		return err
	}
	var flows []translated
	err = router.Dump(nil, func(orig, reply conntrack.Tuple) {
		out := reply.Inverse()
		delete(lost, out)
		if t.Guests.Contains(netip.AddrFrom4(orig.Src)) {
			flows = append(flows, translated{orig, out})
		}
	})
	if err != nil {
		return err
	}
	known := t.Known()
	var strange []translated
	for _, f := range flows {
		if !known[netip.AddrFrom4(f.in.Src)] {
			strange = append(strange, f)
		}
	}
	var hostOnly []conntrack.Tuple
	for flow := range lost {
		hostOnly = append(hostOnly, flow)
	}
	return errors.Join(
		t.delete(router, strange, hostOnly),
		t.forget6(func(guest netip.Addr) bool { return !known[guest] }),
		t.forgetHostOnly6(),
	)
}

func (t *Flows) forgetHostOnly6() error {
	own, ok, err := t.Own()
	if err != nil || !ok {
		return err
	}
	return ipv6.ForgetHostOnly(t.Router, t.Host, ipv6.At(t.Prefix6, own))
}

// hostFlows are the flows that the daemon's namespace tracks for guests.
func (t *Flows) hostFlows() (map[conntrack.Tuple]bool, error) {
	own, ok, err := t.Own()
	out := map[conntrack.Tuple]bool{}
	if err != nil || !ok {
		return out, err
	}
	host, err := conntrack.Open(t.Host)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	err = host.Each(map[netip.Addr]bool{own: true}, func(orig, _ conntrack.Tuple) { out[orig] = true })
	return out, err
}

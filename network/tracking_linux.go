package network

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/internal/gate"
	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/slash30"
)

// flowTracking deletes the flows that the kernel tracks for guests, in the router
// and, where they were translated, in the daemon's namespace. Safe for concurrent use.
type flowTracking struct {
	guests netip.Prefix // The range of all guests.
	life   *gate.Gate
	leases *leases
	router *router
	uplink *uplink
	// suspect: rules were lost, or may have been, and flows may have begun without them.
	suspect atomic.Bool
}

// forget removes the flows that the kernel tracked for guests without a link,
// in the router and, where it was translated, in the daemon's namespace: else an
// entry stays for hours after its sandbox, and a full table takes the whole host
// off the network. One pass serves all guests; it can be repeated.
func (t *flowTracking) forget(guests map[netip.Addr]bool) error {
	return t.remove(guests, func(netip.AddrPort, bool) bool { return true })
}

// cut removes flows of a guest; redirected is whether one goes to a server of the router. Packets of it that still come
// are those of a new flow.
func (t *flowTracking) cut(guest netip.Addr, which func(to netip.AddrPort, redirected bool) bool) error {
	return t.remove(map[netip.Addr]bool{guest: true}, which)
}

func (t *flowTracking) remove(guests map[netip.Addr]bool, which func(to netip.AddrPort, redirected bool) bool) error {
	router, err := conntrack.Open(t.router.ns)
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
		if which(netip.AddrPortFrom(netip.AddrFrom4(orig.Dst), orig.DstPort), orig.Dst != reply.Src) {
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
func (t *flowTracking) delete(router *conntrack.Table, flows []translated, hostOnly []conntrack.Tuple) error {
	inHost := hostOnly
	var inRouter []conntrack.Tuple
	for _, f := range flows {
		inRouter = append(inRouter, f.in)
		if f.out != f.in {
			inHost = append(inHost, f.out)
		}
	}
	if len(inHost) > 0 {
		host, err := conntrack.Open(t.uplink.host)
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

// forgetUntranslated removes the flows to the internet that began while rules were lost. The
// kernel decides about a translation at the first packet of a flow: with its own address a
// guest gets no answer, for as long as it sends. It does nothing unless rules were lost.
func (t *flowTracking) forgetUntranslated() error {
	if !t.suspect.Swap(false) {
		return nil
	}
	err := errors.Join(
		conntrack.DeleteUntranslated(t.router.ns, nil, func(a netip.Addr) bool { return t.guests.Contains(a) }),
		t.forgetUntranslatedOfHost(),
	)
	if err != nil {
		t.suspect.Store(true)
	}
	return err
}

func (t *flowTracking) forgetUntranslatedOfHost() error {
	own, ok, err := t.routerInHost()
	if err != nil || !ok {
		return err
	}
	return conntrack.DeleteUntranslated(t.uplink.host, map[netip.Addr]bool{own: true}, func(a netip.Addr) bool { return a == own })
}

// sweepTime is how often tracked flows that no slot has are looked for.
const sweepTime = 10 * time.Minute

// sweep forgets the flows of addresses that no slot has, which a daemon that
// ended too early left, and those that the host tracks for guests although the
// router does not any more: its times are the shorter ones for flows that were
// there before the host's rules were written again.
func (t *flowTracking) sweep(context.Context) error {
	if t.life.Enter(ErrClosed) != nil {
		return nil
	}
	defer t.life.Exit()
	router, err := conntrack.Open(t.router.ns)
	if err != nil {
		return err
	}
	defer router.Close()
	// In this order: a flow is in the router before it is in the host, and a slot
	// is known before it has flows.
	lost, err := t.hostFlows()
	if err != nil {
		return err
	}
	var flows []translated
	err = router.Dump(nil, func(orig, reply conntrack.Tuple) {
		out := reply.Inverse()
		delete(lost, out)
		if t.guests.Contains(netip.AddrFrom4(orig.Src)) {
			flows = append(flows, translated{orig, out})
		}
	})
	if err != nil {
		return err
	}
	known := t.leases.guests()
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
	return t.delete(router, strange, hostOnly)
}

// hostFlows are the flows that the daemon's namespace tracks for guests.
func (t *flowTracking) hostFlows() (map[conntrack.Tuple]bool, error) {
	own, ok, err := t.routerInHost()
	out := map[conntrack.Tuple]bool{}
	if err != nil || !ok {
		return out, err
	}
	host, err := conntrack.Open(t.uplink.host)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	err = host.Each(map[netip.Addr]bool{own: true}, func(orig, _ conntrack.Tuple) { out[orig] = true })
	return out, err
}

// routerInHost is the address that all guests have in the daemon's namespace; ok is false if there is
// no link to that namespace.
func (t *flowTracking) routerInHost() (a netip.Addr, ok bool, err error) {
	t.uplink.mu.Lock()
	defer t.uplink.mu.Unlock()
	rec, ok, err := t.uplink.load()
	if err != nil || !ok || !rec.Subnet.IsValid() {
		return netip.Addr{}, false, err
	}
	return slash30.Far(rec.Subnet), true, nil
}

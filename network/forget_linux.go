package network

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"time"
)

// flowTracking deletes the flows that the kernel tracks for guests, in the router
// and, where they were translated, in the daemon's namespace. Safe for concurrent use.
type flowTracking struct {
	guests netip.Prefix // The range of all guests.
	life   *life
	leases *leases
	router *router
	uplink *uplink
}

// forget removes the flows that the kernel tracked for guests without a link,
// in the router and, where it was translated, in the daemon's namespace: else an
// entry stays for hours after its sandbox, and a full table takes the whole host
// off the network. One pass serves all guests; it can be repeated.
func (t *flowTracking) forget(guests map[netip.Addr]bool) error {
	router, err := openFlows(t.router.ns)
	if err != nil {
		return err
	}
	defer router.close()
	// Usually there are none, and a pass reads each bucket of the kernel's table, 7 ms
	// of a processor for the 262144 of a large host, whatever is in it.
	if count, err := router.count(); count == 0 {
		return err
	}
	var flows []translated
	err = router.each(guests, func(orig, reply tuple) {
		flows = append(flows, translated{orig, reply.inverse()})
	})
	if err != nil {
		return err
	}
	return t.delete(router, flows, nil)
}

// translated is a flow as the router sees it come in and go out.
type translated struct{ in, out tuple }

// delete removes flows of the router, and hostOnly of the daemon's namespace.
func (t *flowTracking) delete(router *flowTable, flows []translated, hostOnly []tuple) error {
	inHost := hostOnly
	var inRouter []tuple
	for _, f := range flows {
		inRouter = append(inRouter, f.in)
		if f.out != f.in {
			inHost = append(inHost, f.out)
		}
	}
	if len(inHost) > 0 {
		host, err := openFlows(t.uplink.host)
		if err != nil {
			return err
		}
		defer host.close()
		// While the router knows a flow, it gives its translation to no other
		// guest: the host forgets first.
		if err := host.delete(inHost); err != nil {
			return err
		}
	}
	return router.delete(inRouter)
}

// sweepTime is how often tracked flows that no slot has are looked for.
const sweepTime = 10 * time.Minute

// sweep forgets the flows of addresses that no slot has, which a daemon that
// ended too early left, and those that the host tracks for guests although the
// router does not any more: its times are the shorter ones for flows that were
// there before the host's rules were written again.
func (t *flowTracking) sweep(context.Context) error {
	if t.life.enter() != nil {
		return nil
	}
	defer t.life.exit()
	router, err := openFlows(t.router.ns)
	if err != nil {
		return err
	}
	defer router.close()
	// In this order: a flow is in the router before it is in the host, and a slot
	// is known before it has flows.
	lost, err := t.hostFlows()
	if err != nil {
		return err
	}
	var flows []translated
	err = router.dump(nil, func(orig, reply tuple) {
		out := reply.inverse()
		delete(lost, out)
		if t.guests.Contains(netip.AddrFrom4(orig.src)) {
			flows = append(flows, translated{orig, out})
		}
	})
	if err != nil {
		return err
	}
	known := t.leases.guests()
	var strange []translated
	for _, f := range flows {
		if !known[netip.AddrFrom4(f.in.src)] {
			strange = append(strange, f)
		}
	}
	var hostOnly []tuple
	for flow := range lost {
		hostOnly = append(hostOnly, flow)
	}
	return t.delete(router, strange, hostOnly)
}

// hostFlows are the flows that the daemon's namespace tracks for guests.
func (t *flowTracking) hostFlows() (map[tuple]bool, error) {
	t.uplink.mu.Lock()
	rec, ok, err := t.uplink.load()
	t.uplink.mu.Unlock()
	out := map[tuple]bool{}
	if err != nil || !ok || !rec.Subnet.IsValid() {
		return out, err
	}
	host, err := openFlows(t.uplink.host)
	if err != nil {
		return nil, err
	}
	defer host.close()
	err = host.each(map[netip.Addr]bool{far(rec.Subnet): true}, func(orig, _ tuple) { out[orig] = true })
	return out, err
}

// forgetFrom removes the flows from one address in a namespace.
func forgetFrom(ns *os.File, from netip.Addr) error {
	t, err := openFlows(ns)
	if err != nil {
		return err
	}
	defer t.close()
	var flows []tuple
	err = t.each(map[netip.Addr]bool{from: true}, func(orig, _ tuple) { flows = append(flows, orig) })
	return errors.Join(err, t.delete(flows))
}

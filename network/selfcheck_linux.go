package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/slash30"
)

// CheckSelf proves that this process can make connections where it makes those
// to guests: it makes one to itself in the router namespace. That takes the
// same as one to a guest does: descriptors, memory and a thread in the namespace.
// Neither is tracked, so that a full table of connections stops neither.
func (n *Network) CheckSelf(ctx context.Context) error {
	if err := n.checkSelf(ctx); err != nil {
		return fmt.Errorf("network: the daemon cannot connect to itself: %w", err)
	}
	return nil
}

func (n *Network) checkSelf(ctx context.Context) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return err
	}
	defer n.life.Exit()
	ln, err := namespace.ListenTCP(n.router.ns)
	if err != nil {
		return err
	}
	defer ln.Close()
	addr, err := netip.ParseAddrPort(ln.Addr().String())
	if err != nil {
		return err
	}
	conn, err := namespace.DialTCP(ctx, n.router.ns, addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// CheckPath proves that the way to a leased slot's guest is in place: its link
// is up, and the route to the guest leads there.
func (n *Network) CheckPath(_ context.Context, slotID string) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return fmt.Errorf("network: check %s: %w", slotID, err)
	}
	defer n.life.Exit()
	s, err := n.leases.leased(slotID)
	if err == nil {
		err = n.router.leadsTo(s.id, slash30.Far(s.subnet))
	}
	if err != nil {
		return fmt.Errorf("network: no path to the guest of %s: %w", slotID, err)
	}
	return nil
}

// leadsTo checks that the route to a guest is its slot's link, which is up.
func (r *router) leadsTo(id string, guest netip.Addr) error {
	link, err := r.links.LinkByName(id)
	if err != nil {
		return err
	}
	if state := link.Attrs().OperState; state != netlink.OperUp {
		return fmt.Errorf("the link is %v", state)
	}
	routes, err := r.links.RouteGet(guest.AsSlice())
	if err != nil {
		return err
	}
	for _, route := range routes {
		if route.LinkIndex == link.Attrs().Index {
			return nil
		}
	}
	return errors.New("the route does not use the link")
}

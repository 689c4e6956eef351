package network

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/seen"
)

// watchRefused records what slots are refused.
func (n *naming) watchRefused(ctx context.Context) error {
	return refused.Watch(ctx, n.router.ns, func(p refused.Packet) {
		if p.From.Is6() {
			p.From = ipv6.IPv4(p.From)
		}
		n.leases.seen(p.From).Packet(p, time.Now())
		n.count.Add()
	})
}

// Refused returns the destinations that a leased slot was refused, the latest first; none, at no cost, if that was all until a time.
// They are forgotten with the slot, and when the daemon ends. ErrNotFound.
func (n *Network) Refused(slotID string, since time.Time) ([]refused.Attempt, error) {
	s, err := n.leases.leased(slotID)
	if err != nil {
		return nil, err
	}
	return s.seen.Attempts(since), nil
}

// Traffic returns what a leased slot has sent, received, reached and was refused. ErrNotFound.
func (n *Network) Traffic(slotID string) (seen.Traffic, error) {
	if err := n.life.Enter(ErrClosed); err != nil {
		return seen.Traffic{}, fmt.Errorf("network: traffic of %s: %w", slotID, err)
	}
	defer n.life.Exit()
	s, err := n.leases.leased(slotID)
	if err != nil {
		return seen.Traffic{}, err
	}
	link, err := n.router.links.LinkByName(slotID)
	if err != nil {
		return seen.Traffic{}, fmt.Errorf("network: traffic of %s: %w", slotID, err)
	}
	t, of := s.seen.Traffic(), link.Attrs().Statistics
	t.BytesOut, t.PacketsOut, t.BytesIn, t.PacketsIn = of.RxBytes, of.RxPackets, of.TxBytes, of.TxPackets
	return t, nil
}

// Refusals counts what slots were refused, as far as the kernel reported it.
func (n *Network) Refusals() *refused.Counter { return n.refused }

// seen is the record of the slot with a guest's address; nil if there is none.
func (l *leases) seen(guest netip.Addr) *seen.Slot {
	if s := l.of(guest); s != nil {
		return &s.seen
	}
	return nil
}

// of returns the slot with a guest's address; nil if there is none.
func (l *leases) of(guest netip.Addr) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byGuest[guest]
}

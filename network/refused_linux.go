package network

import (
	"context"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/network/refused"
)

// watchRefused records what slots are refused.
func (n *Network) watchRefused(ctx context.Context) error {
	return refused.Watch(ctx, n.router.ns, func(p refused.Packet) {
		n.refused.Add(1)
		if s := n.leases.of(p.From); s != nil {
			s.refused.Add(p, time.Now())
		}
	})
}

// Refused returns the destinations that a leased slot was refused, the latest first. They are forgotten with the slot,
// and when the daemon ends. ErrNotFound.
func (n *Network) Refused(slotID string) ([]refused.Attempt, error) {
	s, err := n.leases.leased(slotID)
	if err != nil {
		return nil, err
	}
	return s.refused.All(), nil
}

// RefusedPackets counts the packets that slots were refused, as far as the kernel reported them.
func (n *Network) RefusedPackets() uint64 { return n.refused.Load() }

// of returns the slot with a guest's address; nil if there is none.
func (l *leases) of(guest netip.Addr) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byGuest[guest]
}

package network

import "fmt"

// Retire ends a lease like Release, but returns at once: the slot is destroyed
// in the background, again and again until it is gone, by this Network, by its
// Close, or after a crash by the next one. Removal waits tens of milliseconds
// for the kernel, which the end of a sandbox should not do. Nothing may
// run in the slot any more. A slot that is not leased is not an error.
func (n *Network) Retire(slotID string) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return fmt.Errorf("network: retire %s: %w", slotID, err)
	}
	defer n.life.Exit()
	n.leases.retire(slotID)
	n.pool.reap()
	return nil
}

// Leased returns the slots that are leased, those that Adopt kept included, in
// no order. A slot that is released or retired is not leased any more.
func (n *Network) Leased() ([]Slot, error) {
	if err := n.life.Enter(ErrClosed); err != nil {
		return nil, fmt.Errorf("network: list: %w", err)
	}
	defer n.life.Exit()
	var out []Slot
	n.leases.each(slotLeased, func(s *slot) { out = append(out, n.pool.public(s, *s.policy.Load())) })
	return out, nil
}

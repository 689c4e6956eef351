package network

import (
	"context"
	"errors"
	"fmt"
)

// Retire ends a lease like Release, but returns at once: the slot is destroyed
// in the background, again and again until it is gone, by this Network, by its
// Close, or after a crash by the next one. Removal waits tens of milliseconds
// for the kernel, which nobody who ends a sandbox should have to. Nothing may
// run in the slot any more. A slot that is not leased is no error.
func (n *Network) Retire(slotID string) error {
	if err := n.enter(); err != nil {
		return fmt.Errorf("network: retire %s: %w", slotID, err)
	}
	defer n.life.RUnlock()
	n.mu.Lock()
	if s, ok := n.slots[slotID]; ok && s.state == slotLeased {
		s.state = slotRetired
	}
	n.mu.Unlock()
	select {
	case n.retired <- struct{}{}:
	default: // The reaper was told already.
	}
	return nil
}

// freeRetired destroys the retired slots that there are.
func (n *Network) freeRetired(ctx context.Context) error {
	n.mu.Lock()
	var list []*slot
	for _, s := range n.slots {
		if s.state == slotRetired {
			list = append(list, s)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, s := range list {
		if ctx.Err() != nil {
			break // Close frees the rest.
		}
		errs = append(errs, n.free(s))
	}
	return errors.Join(errs...)
}

package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Retire ends a lease like Release, but returns at once: the slot is destroyed
// in the background, again and again until it is gone, by this Network, by its
// Close, or after a crash by the next one. Removal waits tens of milliseconds
// for the kernel, which the end of a sandbox should not do. Nothing may
// run in the slot any more. A slot that is not leased is not an error.
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
	n.reap()
	return nil
}

// reap has the retired slots destroyed in the background.
func (n *Network) reap() {
	select {
	case n.retired <- struct{}{}:
	default: // Already signalled.
	}
}

// freeBatch is how many slots are destroyed at once: enough that the kernel's
// waits do not count, few enough that a new slot's link does not wait for long.
const freeBatch = 64

// freeRest is the time between two passes through the retired slots. Those that are
// retired meanwhile share what a pass costs, however few they are.
const freeRest = 200 * time.Millisecond

// freeRetiredAndRest is a pass with its rest, which ends with ctx.
func (n *Network) freeRetiredAndRest(ctx context.Context) error {
	err := n.freeRetired(ctx)
	select {
	case <-ctx.Done():
	case <-time.After(freeRest):
	}
	return err
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
	for part := range slices.Chunk(list, freeBatch) {
		if ctx.Err() != nil {
			break // Close frees the rest.
		}
		errs = append(errs, n.free(part...))
	}
	return errors.Join(errs...)
}

// Leased returns the slots that are leased, those that Adopt kept included, in
// no order. A slot that is released or retired is not leased any more.
func (n *Network) Leased() ([]Slot, error) {
	if err := n.enter(); err != nil {
		return nil, fmt.Errorf("network: list: %w", err)
	}
	defer n.life.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Slot
	for _, s := range n.slots {
		if s.state == slotLeased {
			out = append(out, n.public(s, s.policy))
		}
	}
	return out, nil
}

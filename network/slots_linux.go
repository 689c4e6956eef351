package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// make makes a slot: rules first, then the namespace, then the link. On failure
// nothing is left, or the slot stays known so that Close can try again.
func (n *Network) make(p Policy, state slotState) (_ *slot, err error) {
	n.mu.Lock()
	subnet, err := n.subnets.take()
	if err != nil {
		n.mu.Unlock()
		return nil, err
	}
	s := &slot{id: newSlotID(), subnet: subnet, policy: p, state: slotMaking}
	n.slots[s.id] = s
	n.mu.Unlock()

	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make slot: %w", err), n.free(s))
		}
	}()
	rule := slotRule{id: s.id, guest: far(subnet), policy: p}
	if err := n.changeRules(func() error { return n.rules.set(rule) }); err != nil {
		return nil, err
	}
	err = createNetNS(n.slotPath(s.id), func() error { return n.router.connect(s.id, subnet) })
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.state = state
	if state == slotMaking {
		n.ready = append(n.ready, s)
	}
	return s, nil
}

// free destroys slots: links, namespaces, rules, then their tracked flows, and then
// their subnets can be used again. It can be repeated until it
// succeeds; a slot that cannot be freed holds up no other of the list.
//
// Calls that make the kernel wait for its readers, 10 to 70 ms with its lock for all
// links held, are made once for all slots of the list.
func (n *Network) free(list ...*slot) error {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.id, b.id) }) // The order of locking.
	var ids []string
	guests := map[netip.Addr]bool{}
	var held []*slot
	for _, s := range list {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.gone {
			held = append(held, s)
			ids = append(ids, s.id)
			guests[far(s.subnet)] = true
		}
	}
	if len(held) == 0 {
		return nil
	}
	// Either alone cuts the slots off.
	rules := make(chan error, 1)
	go func() { rules <- n.changeRules(func() error { return n.rules.remove(ids...) }) }()
	links := n.router.deleteSlots(ids)
	if err := errors.Join(links, <-rules); err != nil {
		return err
	}
	if err := n.forget(guests); err != nil { // Nothing comes from them any more.
		return err
	}
	var errs []error
	for _, s := range held {
		if err := removeNetNS(n.slotPath(s.id)); err != nil {
			errs = append(errs, err)
			continue
		}
		s.gone = true
		n.mu.Lock()
		delete(n.slots, s.id)
		n.subnets.free(s.subnet)
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (n *Network) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// every wakes at the interval until ctx ends.
func every(ctx context.Context, interval time.Duration) <-chan struct{} {
	wake := make(chan struct{})
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			select {
			case <-ctx.Done():
				return
			case wake <- struct{}{}:
			}
		}
	}()
	return wake
}

// repeat does work now and at each wake-up, until ctx ends. A failure is
// reported and tried again, later each time; a wake-up does not shorten that.
func (n *Network) repeat(ctx context.Context, wake <-chan struct{}, what string, work func(context.Context) error) {
	pauses := retries.New()
	for {
		next := wake
		var retry <-chan time.Time
		if err := work(ctx); err != nil {
			n.cfg.OnError(fmt.Errorf("network: %s: %w", what, err))
			next, retry = nil, time.After(pauses.NextBackOff())
		} else {
			pauses.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-retry:
		}
	}
}

// refill makes slots until the pool is full.
func (n *Network) refill(ctx context.Context) error {
	for ctx.Err() == nil {
		if full, err := n.addOne(); full || err != nil {
			return err
		}
	}
	return nil
}

// addOne makes a slot for the pool, if it is not full.
func (n *Network) addOne() (full bool, err error) {
	if n.enter() != nil {
		return true, nil
	}
	defer n.life.RUnlock()
	n.mu.Lock()
	full = len(n.ready) >= n.cfg.Ahead
	n.mu.Unlock()
	if !full {
		_, err = n.makeSlot(n.cfg.Default, slotMaking)
	}
	return full, err
}

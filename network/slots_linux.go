package network

import (
	"context"
	"errors"
	"fmt"
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

// free destroys a slot: link, namespace, rules, and then its subnet can be used
// again. It can be repeated until it succeeds.
func (n *Network) free(s *slot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	// Both wait for the kernel's readers, some 10 to 20 ms; either alone cuts
	// the slot off.
	rules := make(chan error, 1)
	go func() { rules <- n.changeRules(func() error { return n.rules.remove(s.id) }) }()
	err := errors.Join(
		deleteLink(n.router.links, s.id),
		removeNetNS(n.slotPath(s.id)),
		<-rules,
	)
	if err != nil {
		return err
	}
	s.gone = true
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.slots, s.id)
	n.subnets.free(s.subnet)
	return nil
}

func (n *Network) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// repeat does work now and at each wake-up, until ctx ends. A failure is
// reported and tried again, later each time; a wake-up does not shorten that.
func (n *Network) repeat(ctx context.Context, wake <-chan struct{}, what string, work func(context.Context) error) {
	delay := retryFirst
	for {
		next := wake
		var retry <-chan time.Time
		if err := work(ctx); err != nil {
			n.cfg.OnError(fmt.Errorf("network: %s: %w", what, err))
			next, retry = nil, time.After(delay)
			delay = min(2*delay, retryMost)
		} else {
			delay = retryFirst
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

package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	if err := n.rules.set(slotRule{id: s.id, guest: far(subnet), policy: p}); err != nil {
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
	go func() { rules <- n.rules.remove(s.id) }()
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

// fill keeps the pool full until ctx ends. A failure is reported and tried
// again, later each time.
func (n *Network) fill(ctx context.Context) {
	delay := refillBackoff
	for {
		var retry <-chan time.Time
		if err := n.refill(ctx); err != nil {
			n.cfg.OnError(fmt.Errorf("network: refill pool: %w", err))
			retry = time.After(delay)
			delay = min(2*delay, refillMaxDelay)
		} else {
			delay = refillBackoff
		}
		// A wake-up does not shorten a back-off.
		wake := n.wake
		if retry != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
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

// findSlots takes stock of what is in the router and the run directory, frees
// what is not a whole slot, and writes the rules of this version of the program
// for the rest.
func (n *Network) findSlots() error {
	links, err := n.router.slots()
	if err != nil {
		return err
	}
	policies, err := n.rules.recover()
	if err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Join(n.cfg.RunDir, "slots"))
	if err != nil {
		return err
	}
	var rules []slotRule
	for _, f := range files {
		subnet := links[f.Name()]
		ns, whole, err := openNetNS(n.slotPath(f.Name()))
		if err != nil {
			return err
		}
		if whole {
			ns.Close()
		}
		if !whole || !subnet.IsValid() || !n.subnets.claim(subnet) {
			if err := removeNetNS(n.slotPath(f.Name())); err != nil {
				return err
			}
			continue
		}
		delete(links, f.Name())
		s := &slot{id: f.Name(), subnet: subnet, policy: policies[f.Name()], state: slotFound}
		n.slots[s.id] = s
		rules = append(rules, slotRule{id: s.id, guest: far(subnet), policy: s.policy})
	}
	for id := range links {
		if err := deleteLink(n.router.links, id); err != nil {
			return err
		}
	}
	return n.rules.reset(rules)
}

// Adopt ends a restart: the slots in use stay leased, with the policy that was
// in force, and all others that were found are destroyed. lost are the ids that
// do not exist any more, as after a reboot.
func (n *Network) Adopt(ctx context.Context, inUse []string) (lost []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := n.enter(); err != nil {
		return nil, fmt.Errorf("network: adopt: %w", err)
	}
	defer n.life.RUnlock()
	needUplink := false
	n.mu.Lock()
	for _, id := range inUse {
		s, ok := n.slots[id]
		switch {
		case !ok:
			lost = append(lost, id)
		case s.state == slotFound:
			s.state = slotLeased
			needUplink = needUplink || s.policy.AllowInternet
		}
	}
	var orphans []*slot
	for _, s := range n.slots {
		if s.state == slotFound {
			orphans = append(orphans, s)
		}
	}
	n.mu.Unlock()
	for _, s := range orphans {
		if e := n.free(s); e != nil {
			err = errors.Join(err, fmt.Errorf("network: adopt: free orphan %s: %w", s.id, e))
		}
	}
	if needUplink {
		if e := n.uplink.ensure(); e != nil {
			err = errors.Join(err, fmt.Errorf("network: adopt: %w: %w", ErrUplink, e))
		}
	}
	return lost, err
}

// Close ends the Network. Slots that are leased, or were found and never
// adopted, stay with everything they need, for the next Open; if there are
// none, nothing of the network is left.
func (n *Network) Close(context.Context) error {
	n.life.Lock()
	again := n.closed
	n.closed = true
	n.life.Unlock()
	if again {
		return nil
	}
	n.stop()
	n.filler.Wait()
	defer n.abandon()

	n.mu.Lock()
	kept := 0
	var idle []*slot
	for _, s := range n.slots {
		if s.state == slotMaking {
			idle = append(idle, s)
		} else {
			kept++
		}
	}
	n.ready = nil
	n.mu.Unlock()
	var err error
	for _, s := range idle {
		err = errors.Join(err, n.free(s))
	}
	if err == nil && kept == 0 {
		err = n.removeAll()
	}
	if err != nil {
		return fmt.Errorf("network: close: %w", err)
	}
	return nil
}

// removeAll removes what is shared by the slots. The lock file stays: to remove
// it would let two daemons lock two files of the same name.
func (n *Network) removeAll() error {
	if err := n.uplink.remove(); err != nil {
		return err
	}
	if err := removeNetNS(n.routerPath()); err != nil {
		return err
	}
	return os.Remove(filepath.Join(n.cfg.RunDir, "slots"))
}

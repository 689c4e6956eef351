package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// findSlots lists the objects in the router and the run directory, frees those that
// are not a whole slot, and writes the rules of this version of the program
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
			// It may be the daemon's own trouble, and a sandbox may run in it: it is
			// left as it is, and its addresses are not given to another.
			n.leave(f.Name(), subnet, err)
			delete(links, f.Name())
			continue
		}
		if whole {
			ns.Close()
		}
		if !whole || !subnet.IsValid() || !n.subnets.claim(subnet) {
			if err := removeNetNS(n.slotPath(f.Name())); err != nil {
				n.leave(f.Name(), subnet, err)
			}
			continue
		}
		delete(links, f.Name())
		s := &slot{id: f.Name(), subnet: subnet, policy: policies[f.Name()], state: slotFound}
		n.slots[s.id] = s
		rules = append(rules, slotRule{id: s.id, guest: far(subnet), policy: s.policy})
	}
	for id, subnet := range links {
		if err := deleteLink(n.router.links, id); err != nil {
			n.leave(id, subnet, err)
		}
	}
	return n.rules.reset(rules)
}

// leave reports a slot that cannot be read or freed now. One bad slot keeps no
// daemon from its start; the next one tries again.
func (n *Network) leave(id string, subnet netip.Prefix, err error) {
	if subnet.IsValid() {
		n.subnets.claim(subnet)
	}
	n.cfg.OnError(fmt.Errorf("network: slot %s of an earlier process cannot be freed now: %w", id, err))
}

// Adopt ends a restart: the slots in use stay leased, with the policy that was
// in force, and all others that were found are destroyed; what cannot be now is
// reported to OnError and tried again. lost are the ids that do not exist any
// more, as after a reboot; it is complete also with an ErrUplink.
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
	for _, s := range n.slots {
		if s.state == slotFound {
			s.state = slotRetired
		}
	}
	n.mu.Unlock()
	if e := n.freeRetired(ctx); e != nil {
		n.cfg.OnError(fmt.Errorf("network: adopt: free orphans: %w", e))
		n.reap()
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
	n.background.Wait()
	defer n.abandon()

	n.mu.Lock()
	kept := 0
	var idle []*slot
	for _, s := range n.slots {
		if s.state == slotMaking || s.state == slotRetired {
			idle = append(idle, s)
		} else {
			kept++
		}
	}
	n.ready = nil
	n.mu.Unlock()
	var err error
	for part := range slices.Chunk(idle, freeBatch) {
		err = errors.Join(err, n.free(part...))
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

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/slash30"
)

// find lists the objects in the router and the run directory, frees those that
// are not a whole slot, and writes the rules of this version of the program
// for the rest.
func (p *pool) find() error {
	ends, err := links.Subnets(p.router.links, isSlotID)
	if err != nil {
		return err
	}
	policies, err := p.rules.recover()
	if err != nil {
		return err
	}
	files, err := os.ReadDir(slotsDir(p.cfg.RunDir))
	if err != nil {
		return err
	}
	given, err := p.rules.recoverBound()
	if err != nil {
		return err
	}
	var rules []slotRule
	for _, f := range files {
		id, subnet := f.Name(), ends[f.Name()]
		ns, whole, err := namespace.Open(p.path(id))
		if err != nil {
			// It may be the daemon's own trouble, and a sandbox may run in it: it is
			// left as it is, and its addresses are not given to another.
			p.leave(id, subnet, err)
			delete(ends, id)
			continue
		}
		var s *slot
		v6 := false
		if whole {
			v6, err = ipv6.Has(ns)
			ns.Close()
			if err != nil {
				p.leave(id, subnet, err)
				delete(ends, id)
				continue
			}
			if subnet.IsValid() {
				s = p.leases.find(id, subnet, policies[id])
			}
		}
		if s == nil {
			if err := namespace.Remove(p.path(id)); err != nil {
				p.leave(id, subnet, err)
			}
			continue
		}
		delete(ends, id)
		s.v6 = v6
		s.found(given[slash30.Far(subnet)])
		rules = append(rules, s.rule(*s.policy.Load()))
	}
	for id, subnet := range ends {
		if err := links.Delete(p.router.links, id); err != nil {
			p.leave(id, subnet, err)
		}
	}
	return p.rules.reset(rules)
}

// leave reports a slot that cannot be read or freed now. One bad slot keeps no
// daemon from its start; the next one tries again.
func (p *pool) leave(id string, subnet netip.Prefix, err error) {
	if subnet.IsValid() {
		p.leases.block(subnet)
	}
	p.cfg.OnError(fmt.Errorf("network: slot %s of an earlier process cannot be freed now: %w", id, err))
}

// Adopt ends a restart: the slots in use stay leased, with the policy that was
// in force, and all others that were found are destroyed; what cannot be now is
// reported to OnError and tried again. lost are the ids that do not exist any
// more, as after a reboot; it is complete also with an ErrUplink.
func (n *Network) Adopt(ctx context.Context, inUse []string) (lost []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := n.life.Enter(ErrClosed); err != nil {
		return nil, fmt.Errorf("network: adopt: %w", err)
	}
	defer n.life.Exit()
	lost, needUplink := n.leases.adopt(inUse)
	if e := n.pool.freeRetired(ctx); e != nil {
		n.cfg.OnError(fmt.Errorf("network: adopt: free orphans: %w", e))
		n.pool.reap()
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
	if n.life.End() {
		return nil
	}
	n.stop()
	n.background.Wait()
	defer n.abandon()

	idle, kept := n.leases.end()
	var err error
	for part := range slices.Chunk(idle, freeBatch) {
		err = errors.Join(err, n.pool.free(part...))
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
	if err := namespace.Remove(n.routerPath()); err != nil {
		return err
	}
	return os.Remove(slotsDir(n.cfg.RunDir))
}

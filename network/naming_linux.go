package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/gate"
	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/byname"
	"github.com/rundlet/rundlet/network/hostname"
	"github.com/rundlet/rundlet/network/names"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/slash30"
	"github.com/rundlet/rundlet/network/socks"
	"github.com/rundlet/rundlet/network/tracked"
)

const (
	// foundLife is how long an address that an earlier process bound stays in force: its time is not known.
	foundLife = time.Minute
	// foundWait is how long a guest waits for its policy after a restart: until then its names are not known.
	foundWait = 10 * time.Second
)

// naming serves slots whose names are checked: the resolver answers their queries, and the gateway passes on their
// connections. Both have sockets of the router. Safe for concurrent use.
type naming struct {
	cfg      Config
	life     *gate.Gate
	leases   *leases
	rules    enforcer
	router   *router
	tracking *tracked.Flows
	count    *refused.Counter
	due      *bound.Alarm // Rings when an address expires.

	servers *byname.Servers
	// serving ends with the servers.
	serving context.Context
	stop    context.CancelFunc
}

// serve begins to serve; close ends it, also after an error.
func (n *naming) serve() (err error) {
	n.due.At(time.Now().Add(foundLife))
	n.serving, n.stop = context.WithCancel(context.Background())
	n.servers, err = byname.Serve(byname.Config{
		NS: n.router.ns, Nameservers: n.cfg.Nameservers, Denied: n.cfg.Denied, Connections: n.cfg.NamedConnections, Guests: n,
		Certify: n.cfg.Certify, Roots: n.cfg.Roots,
		OnError: func(err error) { n.cfg.OnError(fmt.Errorf("network: %w", err)) },
	})
	return err
}

func (n *naming) close() {
	n.due.Stop()
	n.stop()
	if n.servers != nil {
		n.servers.Close()
	}
}

// policy is the one of a guest that is in force. After a restart it waits for the whole of it: to say that a name does not
// exist, or to break a connection off, would be wrong.
func (n *naming) policy(guest netip.Addr) Policy {
	s := n.leases.of(guest)
	if s == nil {
		return Policy{}
	}
	select {
	case <-s.known:
	default:
		enough, cancel := context.WithTimeout(n.serving, foundWait)
		defer cancel()
		select {
		case <-s.known:
		case <-enough.Done():
		}
	}
	return *s.policy.Load()
}

// Allowed reports whether a guest may reach a host name by its policy in force, on a port or, for 0, on any.
func (n *naming) Allowed(guest netip.Addr, name string, port uint16) bool {
	p := n.policy(guest)
	return p.AllOn(port) || p.Named() && names.Match(p.Names, name, port)
}

// Known reports whether the policy of a guest is known. A guest that has ended has none.
func (n *naming) Known(guest netip.Addr) bool {
	s := n.leases.of(guest)
	return s == nil || !s.policy.Load().Unknown()
}

// Reaches reports whether a guest may reach an address by its policy in force, whatever its name is.
func (n *naming) Reaches(guest netip.Addr, to netip.AddrPort) bool { return n.policy(guest).Covers(to) }

// Headers are what is set in a guest's requests to a host.
func (n *naming) Headers(guest netip.Addr, host string) map[string]string {
	p := n.policy(guest)
	if set := hostname.Longest(p.Headers, host); p.AllowInternet && len(set) > 0 {
		return set
	}
	return nil
}

// Rewrites reports whether any of a guest's requests get headers.
func (n *naming) Rewrites(guest netip.Addr) bool { p := n.policy(guest); return p.Rewritten() }

// Proxy is where a guest's connections go through.
func (n *naming) Proxy(guest netip.Addr) socks.Proxy {
	if p := n.policy(guest); p.Tunneled() {
		return p.Proxy
	}
	return socks.Proxy{}
}

// NamesOf are the names that an address is in force for, on its port.
func (n *naming) NamesOf(guest netip.Addr, to netip.AddrPort) []string {
	s := n.leases.of(guest)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	list := s.inForce
	s.mu.Unlock() // Who makes the policy known needs it.
	return slices.DeleteFunc(bound.NamesOf(list, to), func(name string) bool { return !n.Allowed(guest, name, to.Port()) })
}

// Refused records what a guest was refused by a policy that is known.
func (n *naming) Refused(guest netip.Addr, proto, name string, to netip.AddrPort) {
	if !n.Known(guest) {
		return
	}
	n.leases.seen(guest).Refused(refused.Packet{From: guest, Proto: proto, To: to, Name: name}, time.Now())
	n.count.Add()
}

// Answered records a query of a guest that had an answer, and Opened a connection that was opened by name.
func (n *naming) Answered(guest netip.Addr, name string) {
	n.leases.seen(guest).Answered(name, time.Now())
}

func (n *naming) Opened(guest netip.Addr, host string, port uint16) {
	n.leases.seen(guest).Opened(host, port, time.Now())
}

// Bind lets a slot reach the addresses of a name, on the ports that nothing else checks.
func (n *naming) Bind(guest netip.Addr, name string, addrs []netip.Addr, life time.Duration) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return err
	}
	defer n.life.Exit()
	s := n.leases.of(guest)
	if s == nil {
		return ErrNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || !n.Allowed(guest, name, 0) {
		return ErrNotFound
	}
	p := s.policy.Load()
	if !p.Named() {
		return nil // All its addresses are reached.
	}
	now := time.Now()
	for _, port := range names.Ports(p.Names, name) {
		var list []netip.AddrPort
		for _, a := range addrs {
			list = append(list, netip.AddrPortFrom(a, port))
		}
		s.names.Add(name, list, now.Add(life))
	}
	return n.enforce(s, now)
}

// enforce puts the addresses in force that a slot has for names at a time. The caller holds the slot's mu.
func (n *naming) enforce(s *slot, now time.Time) error {
	list, next := s.names.At(now)
	if s.unsure || !slices.Equal(list, s.inForce) {
		rule := s.rule(*s.policy.Load())
		rule.bound = list
		if err := n.rules.set(rule); err != nil {
			n.due.At(now.Add(time.Second))
			s.unsure = true
			return err
		}
		s.inForce, s.unsure = list, false
	}
	n.due.At(next)
	return nil
}

// expire ends what has expired of all slots.
func (n *naming) expire(context.Context) error {
	if n.life.Enter(ErrClosed) != nil {
		return nil
	}
	defer n.life.Exit()
	n.due.Reset()
	var list []*slot
	for _, state := range []slotState{slotFound, slotLeased} {
		n.leases.each(state, func(s *slot) {
			if s.policy.Load().Named() {
				list = append(list, s)
			}
		})
	}
	var errs []error
	for _, s := range list {
		s.mu.Lock()
		if !s.gone {
			errs = append(errs, n.enforce(s, time.Now()))
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// found takes over the addresses that an earlier process bound.
func (s *slot) found(given []bound.Address) {
	if !s.policy.Load().Named() {
		return
	}
	now := time.Now()
	s.names.Restore(given, now.Add(foundLife))
	s.inForce, _ = s.names.At(now)
}

// narrow ends what a slot reaches by names that its next policy does not allow: the addresses that were
// given for them, and flows to those. A flow keeps its mark while everything is allowed. The caller holds the slot's mu.
func (n *naming) narrow(s *slot, next Policy) error {
	now := *s.policy.Load()
	if !now.Named() && !next.Named() || next.All() || slices.Equal(now.Names, next.Names) {
		return nil
	}
	s.names.Keep(func(name string) []uint16 { return names.Ports(next.Names, name) })
	if err := n.enforce(s, time.Now()); err != nil || !s.lent {
		return err
	}
	// An earlier process knew which names the addresses had that have expired, and this one does not.
	known := !slices.Equal(now.Names, policies.UnknownNames)
	return n.tracking.Cut(slash30.Far(s.subnet), func(f tracked.Flow) bool {
		to := f.To
		if f.Proto != unix.IPPROTO_TCP && f.Proto != unix.IPPROTO_UDP {
			to = netip.AddrPortFrom(to.Addr(), 0)
		}
		kept := next.Covers(to) || s.names.Has(to) || !known && !s.names.Forgot(to)
		return !f.Redirected && !kept
	})
}

// changed breaks off the connections of a slot that it may not have any more. A flow goes where it went first: one of
// questions begins anew if its policy has other name servers than the former one, and one of TCP that went directly ends if there
// is a proxy now. The caller holds the slot's mu.
func (n *naming) changed(s *slot, former Policy) {
	guest, now := slash30.Far(s.subnet), *s.policy.Load()
	n.servers.Recheck(guest)
	asks, tunneled := former.Named() != now.Named(), now.Tunneled() && !former.Tunneled()
	if !s.lent || !asks && !tunneled {
		return
	}
	err := n.tracking.Cut(guest, func(f tracked.Flow) bool {
		stays := f.Redirected || f.To.Port() == 53 && slices.Contains(n.cfg.Nameservers, f.To.Addr())
		return asks && f.To.Port() == 53 || tunneled && f.Proto == unix.IPPROTO_TCP && !stays
	})
	if err != nil { // The policy is in force all the same.
		n.cfg.OnError(fmt.Errorf("network: flows of %s may hang that go where they went before a change: %w", s.id, err))
	}
}

// recoverBound reads the addresses that are bound, by guest.
func (r *nftRules) recoverBound() (map[netip.Addr][]bound.Address, error) {
	list, err := r.read(setBound)
	ofPorts, e := r.read(setBoundPort)
	out := map[netip.Addr][]bound.Address{}
	for _, e := range list {
		if guest, addr, ok := nft.Both(e); ok {
			out[guest] = append(out[guest], bound.Address{To: netip.AddrPortFrom(addr, 0), Names: e.Comment})
		}
	}
	for _, e := range ofPorts {
		if guest, to, ok := nft.WithPort(e); ok {
			out[guest] = append(out[guest], bound.Address{To: to, Names: e.Comment})
		}
	}
	return out, errors.Join(err, e)
}

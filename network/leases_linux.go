package network

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/seen"
	"github.com/rundlet/rundlet/network/slash30"
)

// leases records the slots that exist, with the subnet and the state of each. It
// does not touch the kernel: pool does what the states say. Safe for concurrent use.
type leases struct {
	mu      sync.Mutex
	subnets *slash30.Table
	slots   map[string]*slot // All that have a subnet.
	byGuest map[netip.Addr]*slot
	ready   []*slot // Of slotMaking: those that are made, the oldest first.
}

type slotState int

const (
	slotFound  slotState = iota // Of an earlier Network value, not adopted yet.
	slotMaking                  // Being made, or ready in the pool.
	slotLeased
	slotRetired // Without an owner; the reaper destroys it.
)

// slot is a Slot with the state that freeing it needs. mu serialises the calls that
// change its rules or free it, and is locked before leases.mu.
type slot struct {
	id     string
	subnet netip.Prefix
	state  slotState // Guarded by leases.mu.
	v6     bool      // It has an IPv6 address. It does not change once it is made or found.
	cut    bool      // Its link is gone, and that was reported. Guarded by leases.mu.

	mu   sync.Mutex
	gone bool
	lent bool // A guest may have opened flows.
	// policy is the one in force. mu is held to change it, and not to read it. known is closed when its names are known.
	policy atomic.Pointer[Policy]
	known  chan struct{}
	// names are the addresses that it was given for names, and inForce those that the filter has. Guarded by mu.
	names   bound.Addresses
	inForce []bound.Address
	unsure  bool // A change of inForce has failed: it may be in force.

	seen seen.Slot
}

func newSlot(id string, subnet netip.Prefix, p Policy, state slotState) *slot {
	s := &slot{id: id, subnet: subnet, state: state, known: make(chan struct{}), lent: state == slotFound}
	s.setPolicy(p)
	return s
}

// setPolicy notes the policy in force. The caller holds mu.
func (s *slot) setPolicy(p Policy) {
	s.policy.Store(&p)
	select {
	case <-s.known:
	default:
		if !p.Unknown() {
			close(s.known)
		}
	}
}

// rule is what the enforcer knows of it, with a policy. The caller holds mu.
func (s *slot) rule(p Policy) slotRule {
	return slotRule{id: s.id, guest: slash30.Far(s.subnet), policy: p, bound: s.inForce}
}

const (
	slotPrefix = "s-"
	slotIDLen  = len(slotPrefix) + 13 // IFNAMSIZ-1: the id is an interface name.
)

// newSlotID has 65 random bits: no id ever comes back.
func newSlotID() string { return slotPrefix + strings.ToLower(rand.Text()[:13]) }

func isSlotID(s string) bool {
	return len(s) == slotIDLen && strings.HasPrefix(s, slotPrefix)
}

func newLeases(guests netip.Prefix) *leases {
	return &leases{subnets: slash30.New(guests), slots: map[string]*slot{}, byGuest: map[netip.Addr]*slot{}}
}

// begin adds a slot that is still to be made, with a subnet. ErrExhausted.
func (l *leases) begin(p Policy) (*slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	subnet, err := l.subnets.Take()
	if err != nil {
		return nil, err
	}
	s := newSlot(newSlotID(), subnet, p, slotMaking)
	l.add(s)
	return s, nil
}

// add records a slot. The caller holds mu.
func (l *leases) add(s *slot) { l.slots[s.id], l.byGuest[slash30.Far(s.subnet)] = s, s }

// made gives a slot that begin returned its state; slotMaking makes it ready.
func (l *leases) made(s *slot, state slotState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.state = state
	if state == slotMaking {
		l.ready = append(l.ready, s)
	}
}

// lease leases the oldest ready slot; nil if none is ready.
func (l *leases) lease() *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ready) == 0 {
		return nil
	}
	s := l.ready[0]
	l.ready = l.ready[1:]
	s.state = slotLeased
	return s
}

// leased returns a leased slot. ErrNotFound.
func (l *leases) leased(id string) (*slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.slots[id]; ok && s.state == slotLeased {
		return s, nil
	}
	return nil, ErrNotFound
}

// retire ends the lease of a slot. One that is not leased is left as it is.
func (l *leases) retire(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.slots[id]; ok && s.state == slotLeased {
		s.state = slotRetired
	}
}

// each calls visit with the slots of a state, in no order. visit must not block.
func (l *leases) each(state slotState, visit func(*slot)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s.state == state {
			visit(s)
		}
	}
}

// forget removes a slot that is destroyed, and frees its subnet.
func (l *leases) forget(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.slots, s.id)
	delete(l.byGuest, slash30.Far(s.subnet))
	l.subnets.Free(s.subnet)
}

// find adds a slot of an earlier Network value; nil if it cannot have this subnet.
func (l *leases) find(id string, subnet netip.Prefix, p Policy) *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.subnets.Claim(subnet) {
		return nil
	}
	s := newSlot(id, subnet, p, slotFound)
	l.add(s)
	return s
}

// block keeps a subnet from being leased.
func (l *leases) block(subnet netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subnets.Claim(subnet)
}

// adopt leases the slots in use that were found, and retires the others that were.
// lost are the ids that do not exist; needUplink is whether an adopted slot may
// reach the internet.
func (l *leases) adopt(inUse []string) (lost []string, needUplink bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range inUse {
		s, ok := l.slots[id]
		switch {
		case !ok:
			lost = append(lost, id)
		case s.state == slotFound:
			s.state = slotLeased
			needUplink = needUplink || s.policy.Load().AllowInternet
		}
	}
	for _, s := range l.slots {
		if s.state == slotFound {
			s.state = slotRetired
		}
	}
	return lost, needUplink
}

// end returns the slots without an owner, of which none is ready any more, and
// counts the others.
func (l *leases) end() (idle []*slot, kept int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s.state == slotMaking || s.state == slotRetired {
			idle = append(idle, s)
		} else {
			kept++
		}
	}
	l.ready = nil
	return idle, kept
}

// count returns how many slots are leased and ready.
func (l *leases) count() (leased, ready int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if s.state == slotLeased {
			leased++
		}
	}
	return leased, len(l.ready)
}

// guests are the addresses of all slots.
func (l *leases) guests() map[netip.Addr]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[netip.Addr]bool{}
	for _, s := range l.slots {
		out[slash30.Far(s.subnet)] = true
	}
	return out
}

// uncut returns the leased and ready slots that wrong is true for, without those
// that cut was called for.
func (l *leases) uncut(wrong func(*slot) bool) (out []*slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if (s.state == slotLeased || slices.Contains(l.ready, s)) && wrong(s) && !s.cut {
			out = append(out, s)
		}
	}
	return out
}

// renew retires the ready slots that have IPv6 and should not, or the other way round.
func (l *leases) renew(v6 bool) (retired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.ready)
	l.ready = slices.DeleteFunc(l.ready, func(s *slot) bool {
		if s.v6 != v6 {
			s.state = slotRetired
		}
		return s.v6 != v6
	})
	return len(l.ready) < n
}

// cut records that the link of a slot is gone. A ready one is retired.
func (l *leases) cut(s *slot) (retired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.cut = true
	i := slices.Index(l.ready, s)
	if i < 0 {
		return false
	}
	l.ready = slices.Delete(l.ready, i, i+1)
	s.state = slotRetired
	return true
}

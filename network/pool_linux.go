package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/gate"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
	"github.com/rundlet/rundlet/network/tracked"
)

// pool makes slots, some of them before they are asked for, and destroys those that
// have ended. Safe for concurrent use.
type pool struct {
	cfg      Config
	life     *gate.Gate
	leases   *leases
	router   *router
	rules    enforcer
	tracking *tracked.Flows
	// has6 reports whether new slots get IPv6.
	has6 func() bool
	// ended is called with the address of each slot that is destroyed, before another can have it.
	ended func(guest netip.Addr)

	// makeSlot is make; tests replace it.
	makeSlot func(Policy, slotState) (*slot, error)

	wake    chan struct{} // Signals the refiller that a slot was taken.
	retired chan struct{} // Signals the reaper that a slot was retired.
}

func newPool(cfg Config, life *gate.Gate, leases *leases, router *router, rules enforcer, tracking *tracked.Flows) *pool {
	p := &pool{
		cfg: cfg, life: life, leases: leases, router: router, rules: rules, tracking: tracking,
		wake: make(chan struct{}, 1), retired: make(chan struct{}, 1), ended: func(netip.Addr) {}, has6: func() bool { return false },
	}
	p.makeSlot = p.make
	return p
}

// slotsDir has the namespaces of the slots, by id.
func slotsDir(runDir string) string { return filepath.Join(runDir, "slots") }

// path is where the namespace of a slot is bound.
func (p *pool) path(id string) string { return filepath.Join(slotsDir(p.cfg.RunDir), id) }

// public is what a caller sees of a slot.
func (p *pool) public(s *slot, policy Policy) Slot {
	return Slot{ID: s.id, NetNS: p.path(s.id), GuestIP: slash30.Far(s.subnet), Policy: policy}
}

// take leases a ready slot, or makes one with the policy.
func (p *pool) take(policy Policy) (*slot, error) {
	s := p.leases.lease()
	p.kick()
	if s != nil {
		return s, nil
	}
	return p.makeSlot(policy, slotLeased)
}

// make makes a slot: rules first, then the namespace, then the link. On failure
// nothing is left, or the slot stays known so that Close can try again.
func (p *pool) make(policy Policy, state slotState) (_ *slot, err error) {
	s, err := p.leases.begin(policy)
	if err != nil {
		return nil, err
	}
	s.v6 = p.has6()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make slot: %w", err), p.free(s))
		}
	}()
	if err := p.rules.set(slotRule{id: s.id, guest: slash30.Far(s.subnet), policy: policy}); err != nil {
		return nil, err
	}
	err = namespace.Create(p.path(s.id), func() error { return p.router.connect(s.id, s.subnet, s.v6) })
	if err != nil {
		return nil, err
	}
	p.leases.made(s, state)
	return s, nil
}

// free destroys slots: links, namespaces, rules, then their tracked flows, and then
// their subnets can be used again. It can be repeated until it
// succeeds; a slot that cannot be freed holds up no other of the list.
//
// Calls that make the kernel wait for its readers, 10 to 70 ms with its lock for all
// links held, are made once for all slots of the list.
func (p *pool) free(list ...*slot) error {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *slot) int { return strings.Compare(a.id, b.id) }) // The order of locking.
	var ids []string
	guests := map[netip.Addr]bool{}
	var held []*slot
	v6 := false
	for _, s := range list {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.gone {
			held = append(held, s)
			v6 = v6 || s.v6
			ids = append(ids, s.id)
			guests[slash30.Far(s.subnet)] = true
		}
	}
	if len(held) == 0 {
		return nil
	}
	// Either alone cuts the slots off.
	rules := make(chan error, 1)
	go func() { rules <- p.rules.remove(ids...) }()
	unlinked := links.DeleteAll(p.router.ns, p.router.links, ids)
	if err := errors.Join(unlinked, <-rules); err != nil {
		return err
	}
	if err := p.tracking.Forget(guests, v6); err != nil { // Nothing comes from them any more.
		return err
	}
	var errs []error
	for _, s := range held {
		if err := namespace.Remove(p.path(s.id)); err != nil {
			errs = append(errs, err)
			continue
		}
		s.gone = true
		p.ended(slash30.Far(s.subnet))
		p.leases.forget(s)
	}
	return errors.Join(errs...)
}

// freeBatch is how many slots are destroyed at once: enough that the kernel's
// waits do not count, few enough that a new slot's link does not wait for long.
const freeBatch = 64

// freeRest is the time between two passes through the retired slots. Those that are
// retired meanwhile share what a pass costs, however few they are.
const freeRest = 200 * time.Millisecond

// reap has the retired slots destroyed in the background.
func (p *pool) reap() {
	select {
	case p.retired <- struct{}{}:
	default: // Already signalled.
	}
}

// freeRetiredAndRest is a pass with its rest, which ends with ctx.
func (p *pool) freeRetiredAndRest(ctx context.Context) error {
	err := p.freeRetired(ctx)
	select {
	case <-ctx.Done():
	case <-time.After(freeRest):
	}
	return err
}

// freeRetired destroys the retired slots that there are.
func (p *pool) freeRetired(ctx context.Context) error {
	var list []*slot
	p.leases.each(slotRetired, func(s *slot) { list = append(list, s) })
	var errs []error
	for part := range slices.Chunk(list, freeBatch) {
		if ctx.Err() != nil {
			break // Close frees the rest.
		}
		errs = append(errs, p.free(part...))
	}
	return errors.Join(errs...)
}

// kick has the pool refilled in the background.
func (p *pool) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// refill makes slots until the pool is full.
func (p *pool) refill(ctx context.Context) error {
	for ctx.Err() == nil {
		if full, err := p.addOne(); full || err != nil {
			return err
		}
	}
	return nil
}

// addOne makes a ready slot, if the pool is not full.
func (p *pool) addOne() (full bool, err error) {
	if p.life.Enter(ErrClosed) != nil {
		return true, nil
	}
	defer p.life.Exit()
	_, ready := p.leases.count()
	if ready >= p.cfg.Ahead {
		return true, nil
	}
	_, err = p.makeSlot(p.cfg.Default, slotMaking)
	return false, err
}

// renew has the ready slots made anew that were made before IPv6 came or went.
func (p *pool) renew() {
	if p.leases.renew(p.has6()) {
		p.reap()
		p.kick()
	}
}

// settle gives the links of slots their addresses again. A link that is
// gone took the guest's end with it: a free slot is destroyed, and
// another made; one in use has no network until its sandbox is paused and
// resumed.
func (p *pool) settle(mend bool) (lost []string, err error) {
	subnets, err := links.Subnets(p.router.links, isSlotID)
	if err != nil {
		return nil, err
	}
	ends, err := settle.Whole(p.router.links.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list router links: %w", err)
	}
	down, index := map[string]bool{}, map[string]int{}
	for _, l := range ends {
		index[l.Attrs().Name] = l.Attrs().Index
		down[l.Attrs().Name] = l.Attrs().RawFlags&unix.IFF_UP == 0
	}
	with6 := map[int]ipv6.Near{}
	if len(p.leases.uncut(func(s *slot) bool { return s.v6 })) > 0 {
		if with6, err = ipv6.Linked(p.router.links, p.router.prefix6); err != nil {
			return nil, err
		}
	}
	odd6 := func(s *slot) bool { return s.v6 && !with6[index[s.id]].Whole(p.router.prefix6, s.subnet) }
	odd := p.leases.uncut(func(s *slot) bool { return subnets[s.id] != s.subnet || down[s.id] || odd6(s) })
	for _, s := range odd {
		what, e := p.settleSlot(s, odd6(s), mend)
		if what != "" {
			lost = append(lost, what)
		}
		err = errors.Join(err, e)
	}
	return lost, err
}

// settleSlot is settle for a slot. odd6 is whether its link has lost some of IPv6.
func (p *pool) settleSlot(s *slot, odd6, mend bool) (lost string, err error) {
	s.mu.Lock() // And so it is not being freed.
	defer s.mu.Unlock()
	if s.gone {
		return "", nil
	}
	_, err = p.router.links.LinkByName(s.id)
	if links.Gone(err) {
		if mend && p.leases.cut(s) {
			p.reap()
			p.kick()
		}
		return LostSlotLink, nil
	}
	if err != nil {
		return "", err
	}
	was, err := settle.Address(p.router.links, s.id, netip.PrefixFrom(slash30.Near(s.subnet), slash30.Bits), 0, mend)
	if err == nil && mend && odd6 {
		err = p.settleNear(s)
	}
	if was || odd6 {
		return LostSlotLink, err
	}
	return "", err
}

// settleNear gives the router's end of a slot's link its IPv6 again.
func (p *pool) settleNear(s *slot) error {
	ns, ok, err := namespace.Open(p.path(s.id))
	if err != nil || !ok {
		return fmt.Errorf("open namespace of slot %s: %w", s.id, cmp.Or(err, os.ErrNotExist))
	}
	defer ns.Close()
	return ipv6.SettleNear(p.router.ns, ns, p.router.links, s.id, p.router.prefix6, s.subnet)
}

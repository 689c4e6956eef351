package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/internal/flock"
)

// Network hands out slots. Safe for concurrent use. Close frees it.
type Network struct {
	cfg    Config
	lock   *os.File
	router *router
	rules  enforcer
	uplink *uplink

	// makeSlot is make; tests replace it.
	makeSlot func(Policy, slotState) (*slot, error)

	stop       context.CancelFunc // Ends the background work.
	background sync.WaitGroup
	wake       chan struct{} // Signals the refiller that a slot was taken.
	retired    chan struct{} // Signals the reaper that a slot was retired.
	repairs    repairs

	// life is held for reading by every call that needs the kernel's objects, so
	// that Close has them for itself.
	life   sync.RWMutex
	closed bool

	mu      sync.Mutex
	subnets *subnets
	slots   map[string]*slot // All that have a subnet.
	ready   []*slot
}

type slotState int

const (
	slotFound  slotState = iota // Of an earlier Network value, not adopted yet.
	slotMaking                  // Being made, or ready in the pool.
	slotLeased
	slotRetired // Without an owner; the reaper destroys it.
)

// slot is a Slot with the state that freeing it needs, which is guarded by
// Network.mu; mu serialises the calls that change its rules or free it.
type slot struct {
	id     string
	subnet netip.Prefix
	state  slotState

	mu     sync.Mutex
	gone   bool
	policy Policy
	cut    bool // Its link is gone, and that was reported. Guarded by Network.mu.
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

// Open creates the network of a daemon, or takes over the one that an earlier daemon
// with the same RunDir left. In that case every existing slot keeps working, with
// its policy; call Adopt to name the slots that are still in use.
func Open(ctx context.Context, cfg Config) (_ *Network, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.RunDir, err = filepath.Abs(cfg.RunDir); err != nil {
		return nil, err
	}
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(cfg.RunDir, "slots"), 0o700); err != nil {
		return nil, fmt.Errorf("network: make run directory: %w", err)
	}
	n := &Network{
		cfg: cfg, wake: make(chan struct{}, 1), retired: make(chan struct{}, 1),
		subnets: newSubnets(cfg.Range), slots: map[string]*slot{},
	}
	n.makeSlot = n.make
	defer func() {
		if err != nil {
			n.abandon()
			err = fmt.Errorf("network: open: %w", err)
		}
	}()
	if n.lock, err = lockDir(cfg.RunDir); err != nil {
		return nil, err
	}
	router, found, err := openRouter(n.routerPath(), cfg.Range)
	if err != nil {
		return nil, err
	}
	n.router = router
	if !found {
		defer func() {
			if err != nil {
				err = errors.Join(err, removeNetNS(n.routerPath()))
			}
		}()
	}
	n.rules = newNFTRules(router.ns, cfg)
	if n.uplink, err = openUplink(cfg, router, found, n.rules.setOwn); err != nil {
		return nil, err
	}
	if err := n.findSlots(); err != nil {
		return nil, err
	}
	if err := router.shortenTracking(); err != nil { // The rules loaded the module.
		return nil, fmt.Errorf("set the times of tracked flows: %w", err)
	}
	life, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.background.Go(func() { n.repeat(life, n.wake, "refill pool", n.refill) })
	n.background.Go(func() { n.repeat(life, n.retired, "destroy retired slots", n.freeRetiredAndRest) })
	n.background.Go(func() { n.repeat(life, every(life, sweepTime), "forget stray flows", n.sweep) })
	n.background.Go(func() { n.repeat(life, nil, "look after the network", n.watch) })
	return n, nil
}

func (n *Network) routerPath() string        { return filepath.Join(n.cfg.RunDir, "router") }
func (n *Network) slotPath(id string) string { return filepath.Join(n.cfg.RunDir, "slots", id) }

// lockDir takes the run directory for the life of the returned file.
func lockDir(dir string) (*os.File, error) {
	f, err := flock.Try(filepath.Join(dir, "lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return f, err
}

// abandon closes everything that only this process holds and leaves the kernel's
// objects as they are. The end of the process has the same effect.
func (n *Network) abandon() {
	if n.stop != nil {
		n.stop()
		n.background.Wait()
	}
	if n.uplink != nil {
		n.uplink.close()
	}
	if n.rules != nil {
		n.rules.close()
	}
	if n.router != nil {
		n.router.close()
	}
	if n.lock != nil {
		n.lock.Close()
	}
}

// enter begins a call; n.life.RUnlock ends it.
func (n *Network) enter() error {
	n.life.RLock()
	if n.closed {
		n.life.RUnlock()
		return ErrClosed
	}
	return nil
}

// Acquire leases a slot with the policy in force. Release ends the lease. With
// an empty pool it makes the slot itself. ErrUplink if the policy allows the
// internet and the way there cannot be set up.
func (n *Network) Acquire(ctx context.Context, p Policy) (Slot, error) {
	if err := ctx.Err(); err != nil {
		return Slot{}, err
	}
	if err := n.enter(); err != nil {
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	defer n.life.RUnlock()
	s, err := n.take(p)
	if err != nil {
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	if err := n.apply(s, p); err != nil {
		err = errors.Join(err, n.free(s))
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	return n.public(s, p), nil
}

// take leases a ready slot, or makes one with the policy.
func (n *Network) take(p Policy) (*slot, error) {
	n.mu.Lock()
	if len(n.ready) > 0 {
		s := n.ready[0]
		n.ready = n.ready[1:]
		s.state = slotLeased
		n.mu.Unlock()
		n.kick()
		return s, nil
	}
	n.mu.Unlock()
	n.kick()
	return n.makeSlot(p, slotLeased)
}

// apply puts a policy in force for a slot, and the uplink in place first.
func (n *Network) apply(s *slot, p Policy) error {
	if p.AllowInternet {
		if err := n.uplink.ensure(); err != nil {
			return fmt.Errorf("%w: %w", ErrUplink, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ErrNotFound
	}
	if s.policy == p {
		return nil
	}
	rule := slotRule{id: s.id, guest: far(s.subnet), policy: p}
	if err := n.changeRules(func() error { return n.rules.set(rule) }); err != nil {
		return err
	}
	s.policy = p
	return nil
}

func (n *Network) public(s *slot, p Policy) Slot {
	return Slot{ID: s.id, NetNS: n.slotPath(s.id), GuestIP: far(s.subnet), Policy: p}
}

// SetPolicy replaces the policy of a leased slot while it runs, as a whole.
// Connections that the new policy forbids stop passing at once. On an error the
// old policy is still in force. ErrNotFound.
func (n *Network) SetPolicy(ctx context.Context, slotID string, p Policy) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := n.enter(); err != nil {
		return fmt.Errorf("network: set policy of %s: %w", slotID, err)
	}
	defer n.life.RUnlock()
	s, err := n.leased(slotID)
	if err == nil {
		err = n.apply(s, p)
	}
	if err != nil {
		return fmt.Errorf("network: set policy of %s: %w", slotID, err)
	}
	return nil
}

func (n *Network) leased(id string) (*slot, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.slots[id]; ok && s.state == slotLeased {
		return s, nil
	}
	return nil, ErrNotFound
}

// Release ends a lease and destroys the slot; processes that still run in it have no
// network any more. A slot that is not leased is not an error, and after an error
// the call can be repeated. It runs to its end even if ctx has ended.
func (n *Network) Release(_ context.Context, slotID string) error {
	if err := n.enter(); err != nil {
		return fmt.Errorf("network: release %s: %w", slotID, err)
	}
	defer n.life.RUnlock()
	s, err := n.leased(slotID)
	if err != nil {
		return nil
	}
	if err := n.free(s); err != nil {
		return fmt.Errorf("network: release %s: %w", slotID, err)
	}
	return nil
}

// DialContext connects to a TCP port of a guest. addr must be a GuestIP of this
// network; a port without a listener is syscall.ECONNREFUSED.
func (n *Network) DialContext(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if !n.cfg.Range.Contains(addr.Addr()) {
		return nil, fmt.Errorf("network: dial: %w: %v is not a guest address", ErrInvalid, addr)
	}
	return dialFrom(ctx, n.router.ns, addr)
}

// Counts reads how many objects exist.
func (n *Network) Counts() (Counts, error) {
	var c Counts
	if err := n.enter(); err != nil {
		return c, fmt.Errorf("network: count: %w", err)
	}
	defer n.life.RUnlock()
	n.mu.Lock()
	c.Ready = len(n.ready)
	for _, s := range n.slots {
		if s.state == slotLeased {
			c.Leased++
		}
	}
	n.mu.Unlock()
	files, err := os.ReadDir(filepath.Join(n.cfg.RunDir, "slots"))
	if err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	links, err := n.router.slots()
	if err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	c.Namespaces, c.Links = len(files), len(links)
	if c.Rules, err = n.rules.count(); err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	return c, nil
}

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/internal/gate"
	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/tracked"
)

// Network hands out slots. Safe for concurrent use. Close frees it.
//
// Locks are taken in this order: life.calls, watcher.mu, slot.mu or uplink.mu, and
// last those of leases, rules and repairs, under which no other is taken.
type Network struct {
	cfg      Config
	lock     *os.File
	router   *router
	rules    *mendedRules
	uplink   *uplink
	leases   *leases
	pool     *pool
	tracking *tracked.Flows
	watcher  *watcher
	repairs  *repairs
	naming   *naming
	life     gate.Gate
	refused  *refused.Counter // See Refusals.

	stop       context.CancelFunc // Ends the background work.
	background sync.WaitGroup
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
	if err := os.MkdirAll(slotsDir(cfg.RunDir), 0o700); err != nil {
		return nil, fmt.Errorf("network: make run directory: %w", err)
	}
	n := &Network{cfg: cfg, leases: newLeases(cfg.Range), refused: refused.NewCounter(), repairs: &repairs{onRepair: cfg.OnRepair}}
	defer func() {
		if err != nil {
			n.abandon()
			err = fmt.Errorf("network: open: %w", err)
		}
	}()
	if n.lock, err = lockDir(cfg.RunDir); err != nil {
		return nil, err
	}
	router, found, err := openRouter(n.routerPath(), cfg.Range, cfg.prefix6())
	if err != nil {
		return nil, err
	}
	n.router = router
	if !found {
		defer func() {
			if err != nil {
				err = errors.Join(err, namespace.Remove(n.routerPath()))
			}
		}()
	}
	n.tracking = &tracked.Flows{Guests: cfg.Range, Prefix6: cfg.prefix6(), Router: router.ns, Known: n.leases.guests}
	n.tracking.Suspect.Store(found) // What was lost while no daemon looked is not known.
	filter := newNFTRules(router.ns, cfg)
	n.rules = &mendedRules{enforcer: filter, repairs: n.repairs, tracking: n.tracking}
	if n.uplink, err = openUplink(cfg, router, found, n.rules.setOwn); err != nil {
		return nil, err
	}
	n.tracking.Host, n.tracking.Own = n.uplink.host, n.uplink.routerInHost
	n.pool = newPool(cfg, &n.life, n.leases, router, n.rules, n.tracking)
	n.pool.has6 = n.uplink.has6
	n.watcher = &watcher{
		guests: cfg.Range, life: &n.life, router: router, rules: n.rules, uplink: n.uplink, pool: n.pool, repairs: n.repairs, tracking: n.tracking,
	}
	if err := n.pool.find(); err != nil {
		return nil, err
	}
	if err := router.shortenTracking(); err != nil { // The rules loaded the module.
		return nil, fmt.Errorf("set the times of tracked flows: %w", err)
	}
	n.naming = &naming{cfg: cfg, life: &n.life, leases: n.leases, rules: n.rules, router: router, tracking: n.tracking, count: n.refused, due: bound.NewAlarm()}
	if err := n.naming.serve(); err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	n.pool.ended = n.naming.servers.Forget
	life, stop := context.WithCancel(context.Background())
	n.stop = stop
	type work struct {
		what string
		wake <-chan struct{}
		do   func(context.Context) error
	}
	list := []work{
		{"refill pool", n.pool.wake, n.pool.refill},
		{"destroy retired slots", n.pool.retired, n.pool.freeRetiredAndRest},
		{"forget stray flows", retry.Every(life, sweepTime), n.pool.sweepFlows},
		{"look after the network", nil, n.watcher.watch},
		{"forget the addresses of names", n.naming.due.Wake, n.naming.expire},
	}
	if filter.reports() { // The rules are written.
		list = append(list, work{"watch what is refused", nil, n.naming.watchRefused})
	}
	for _, work := range list {
		n.background.Go(func() {
			retries.Repeat(life, work.wake, work.do, func(err error) { cfg.OnError(fmt.Errorf("network: %s: %w", work.what, err)) })
		})
	}
	return n, nil
}

func (n *Network) routerPath() string { return filepath.Join(n.cfg.RunDir, "router") }

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
	if n.naming != nil {
		n.naming.close()
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

// Acquire leases a slot with the policy in force. Release ends the lease. With
// an empty pool it makes the slot itself. ErrUplink if the policy allows the
// internet and the way there cannot be set up.
func (n *Network) Acquire(ctx context.Context, p Policy) (Slot, error) {
	if err := errors.Join(ctx.Err(), checkPolicy(p, n.cfg.Certify != nil)); err != nil {
		return Slot{}, err
	}
	if err := n.life.Enter(ErrClosed); err != nil {
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	defer n.life.Exit()
	s, err := n.pool.take(p)
	if err != nil {
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	if err = n.way(p); err == nil {
		err = n.apply(s, p)
	}
	if err != nil {
		err = errors.Join(err, n.pool.free(s))
		return Slot{}, fmt.Errorf("network: acquire: %w", err)
	}
	return n.pool.public(s, p), nil
}

// way puts the uplink in place, if a policy needs it.
func (n *Network) way(p Policy) error {
	if !p.AllowInternet {
		return nil
	}
	if err := n.uplink.ensure(); err != nil {
		return fmt.Errorf("%w: %w", ErrUplink, err)
	}
	return nil
}

// apply puts a policy in force for a slot.
func (n *Network) apply(s *slot, p Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ErrNotFound
	}
	defer func() { s.lent = true }()
	if s.policy.Load().Equal(p) {
		return nil
	}
	if err := n.naming.narrow(s, p); err != nil {
		return err
	}
	if err := n.rules.set(s.rule(p)); err != nil {
		return err
	}
	former := *s.policy.Load()
	s.setPolicy(p)
	n.naming.changed(s, former)
	return nil
}

// SetPolicy replaces the policy of a leased slot while it runs, as a whole.
// Connections that the new policy forbids stop passing at once, and those that both allow
// are not disturbed. On an error the old policy is still in force. ErrNotFound.
func (n *Network) SetPolicy(ctx context.Context, slotID string, p Policy) error {
	if err := errors.Join(ctx.Err(), checkPolicy(p, n.cfg.Certify != nil)); err != nil {
		return err
	}
	if err := n.life.Enter(ErrClosed); err != nil {
		return fmt.Errorf("network: set policy of %s: %w", slotID, err)
	}
	defer n.life.Exit()
	s, err := n.leases.leased(slotID)
	if err == nil && !s.policy.Load().AllowInternet { // Else the uplink, also if it is lost, must not keep it from a stricter one.
		err = n.way(p)
	}
	if err == nil {
		err = n.apply(s, p)
	}
	if err != nil {
		return fmt.Errorf("network: set policy of %s: %w", slotID, err)
	}
	return nil
}

// Release ends a lease and destroys the slot; processes that still run in it have no
// network any more. A slot that is not leased is not an error, and after an error
// the call can be repeated. It runs to its end even if ctx has ended.
func (n *Network) Release(_ context.Context, slotID string) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return fmt.Errorf("network: release %s: %w", slotID, err)
	}
	defer n.life.Exit()
	s, err := n.leases.leased(slotID)
	if err != nil {
		return nil
	}
	if err := n.pool.free(s); err != nil {
		return fmt.Errorf("network: release %s: %w", slotID, err)
	}
	return nil
}

// DialContext connects to a TCP port of a guest. addr must be a GuestIP of this
// network; a port without a listener is syscall.ECONNREFUSED.
func (n *Network) DialContext(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	if !n.cfg.Range.Contains(addr.Addr()) || addr.Port() == 0 {
		return nil, fmt.Errorf("network: dial: %w: %v is not a guest address with a port", ErrInvalid, addr)
	}
	return namespace.DialTCP(ctx, n.router.ns, addr)
}

// Counts reads how many objects exist.
func (n *Network) Counts() (Counts, error) {
	var c Counts
	if err := n.life.Enter(ErrClosed); err != nil {
		return c, fmt.Errorf("network: count: %w", err)
	}
	defer n.life.Exit()
	c.Leased, c.Ready = n.leases.count()
	files, err := os.ReadDir(slotsDir(n.cfg.RunDir))
	if err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	ends, err := links.Subnets(n.router.links, isSlotID)
	if err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	c.Namespaces, c.Links = len(files), len(ends)
	if c.Rules, err = n.rules.count(); err != nil {
		return Counts{}, fmt.Errorf("network: count: %w", err)
	}
	return c, nil
}

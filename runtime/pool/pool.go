// Package pool keeps machines that were restored before anybody asked for them.
// A warm machine has the id of the sandbox that it will be, with the tokens, the
// hostname and the seed that go with it, so that little is left to do when it is
// handed over. It has no row until then; a mark of package machine says so. The
// package may import vm, policy, and the parts of the runtime below it: step,
// background, claim, machine and admission.
package pool

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/vm"
)

// Target is how many machines of a template are kept: Ready ones, which run and
// have answered, and Prepared ones, which only have to be started.
type Target struct {
	Ready, Prepared int
	// MaxAge is when a machine is replaced by a fresh one; 0 is never.
	MaxAge time.Duration
}

// makeTimeout bounds the making of one machine.
const makeTimeout = time.Minute

// retries are the pauses between attempts to end a machine.
var retries = retry.Pauses{First: 100 * time.Millisecond, Most: 30 * time.Second}

// Config holds the dependencies and settings of a Pool. All fields are required.
type Config struct {
	// Launches is how many machines the node makes at the same time.
	Launches   int
	Driver     vm.Runtime
	Machines   *machine.Machines
	Admission  *admission.Controller
	Steps      *step.Recorder
	Background *background.Group
	// Unusable receives the reason why a machine could not be made, and prepares the template
	// anew if that is the reason.
	Unusable func(from claim.Origin, err error)
	Log      *slog.Logger
}

// Pool keeps the warm machines of one instance. Safe for concurrent use.
type Pool struct {
	cfg   Config
	life  context.Context
	books warmpool.Pool
	// kick asks for a refill now; it holds one token.
	kick chan struct{}

	mu       sync.Mutex
	limits   warmpool.Limits
	targets  map[string]Target             // by the names of templates
	taken    time.Time                     // the last checkout
	short    bool                          // there was no space on the disk
	machines map[string]*Machine           // by id; also those that are being made
	origins  map[warmpool.Key]claim.Origin // what the machines of a key are made from
}

// New returns an empty pool. Maintain fills it.
func New(cfg Config) *Pool {
	return &Pool{
		cfg: cfg, life: cfg.Background.Context(), kick: make(chan struct{}, 1), limits: warmpool.Unlimited,
		targets: map[string]Target{}, machines: map[string]*Machine{}, origins: map[warmpool.Key]claim.Origin{},
	}
}

// SetTarget changes how many machines are kept of the template with a name; a zero target keeps none. Until Keep is called, the pool
// has machines of the template only if it had some before.
func (p *Pool) SetTarget(name string, t Target) {
	p.mu.Lock()
	if t == (Target{}) {
		delete(p.targets, name)
	} else {
		p.targets[name] = t
	}
	for _, from := range p.origins {
		if from.Alias == name {
			p.keep(from)
		}
	}
	p.mu.Unlock()
	p.Wake()
}

// Serves reports whether the pool may have a machine for an origin. Of a template it has machines of one build.
func (p *Pool) Serves(from claim.Origin) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target(from) != (Target{}) && p.fits(p.key(from), from)
}

// target is how many machines are kept of an origin. The caller holds mu.
func (p *Pool) target(from claim.Origin) Target {
	if !from.Template || from.Filesystem {
		return Target{}
	}
	return p.targets[from.Alias]
}

// key says which warm machines can serve sandboxes of an origin.
func (p *Pool) key(from claim.Origin) warmpool.Key {
	return warmpool.Key{Repo: from.Defaults.Repository.URL, Template: from.TemplateID, Profile: p.cfg.Driver.Info().Driver}
}

// Keep sets the origin from which the machines of a template are made from now on.
func (p *Pool) Keep(from claim.Origin) {
	p.mu.Lock()
	p.keep(from)
	p.mu.Unlock()
	p.Wake()
}

// keep is Keep for a caller that holds mu.
func (p *Pool) keep(from claim.Origin) {
	t, key := p.target(from), p.key(from)
	p.dropKeys(func(k warmpool.Key) bool { return k.Template == key.Template && (k != key || t == (Target{})) }) // It may have been of another repository.
	if t == (Target{}) {
		return
	}
	p.origins[key] = from
	p.books.SetTarget(key, warmpool.Target{Ready: t.Ready, Prepared: t.Prepared, MaxAge: t.MaxAge})
	p.books.SetSnapshot(key, snapshotOf(from))
}

// snapshotOf is the name that the books have for what machines are made from.
func snapshotOf(from claim.Origin) string { return from.VMID + "/" + from.Snapshot }

// fits reports whether the machines of a key are made from an origin: they may be of a later build of its template, or of an
// earlier one. The caller holds mu.
func (p *Pool) fits(key warmpool.Key, from claim.Origin) bool {
	kept, ok := p.origins[key]
	return ok && snapshotOf(kept) == snapshotOf(from)
}

// Drop ends the machines of a template that is gone.
func (p *Pool) Drop(templateID string) {
	p.mu.Lock()
	kept := p.dropKeys(func(k warmpool.Key) bool { return k.Template == templateID })
	p.mu.Unlock()
	if kept {
		p.Wake()
	}
}

// dropKeys keeps no machines any more for the keys that match, and reports whether there was one. The caller holds mu.
func (p *Pool) dropKeys(match func(warmpool.Key) bool) (found bool) {
	for k := range p.origins {
		if match(k) {
			delete(p.origins, k)
			p.books.SetTarget(k, warmpool.Target{})
			p.books.SetSnapshot(k, "")
			found = true
		}
	}
	return found
}

// Wake asks for a refill now, since there may be capacity for one.
func (p *Pool) Wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// SetLimits limits the pool for the sake of active work.
func (p *Pool) SetLimits(limits warmpool.Limits) {
	p.mu.Lock()
	changed := p.limits != limits
	p.limits = limits
	p.mu.Unlock()
	if changed {
		p.Wake()
	}
}

// Limits returns the limits in force.
func (p *Pool) Limits() warmpool.Limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits
}

// Stats has one element per template that is, or was, kept warm.
func (p *Pool) Stats(now time.Time) []warmpool.Stats { return p.books.Stats(now) }

// Ready is how many machines run and can be handed out, by the names of templates.
func (p *Pool) Ready(now time.Time) map[string]int {
	ready := map[string]int{}
	for _, s := range p.Stats(now) {
		ready[p.Name(s.Key)] += s.Ready
	}
	return ready
}

// Name is how an operator knows a key: the template's name, or its id if it has
// none.
func (p *Pool) Name(key warmpool.Key) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.origins[key].Alias, key.Template)
}

// Owned adds the ids of the pool's machines and their slots.
func (p *Pool) Owned(ids map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.machines {
		ids[m.ID] = true
		if m.slot != "" {
			ids[m.slot] = true
		}
	}
}

// Checkout takes a machine for a sandbox of an origin; nil if there is none. Machines of other builds of its template
// stay. The caller owns it: it becomes a sandbox, or goes back to Discard.
func (p *Pool) Checkout(from claim.Origin) *Machine {
	begin := time.Now()
	for {
		m := p.take(from, begin)
		if m == nil {
			return nil
		}
		// Its claim becomes an active one in one step: no other request slips in between.
		if err := m.Reservation.Promote(); err != nil {
			p.cfg.Background.Go(func() { p.Discard(m) }) // It was asked to yield.
			continue
		}
		p.took(m.ID, begin)
		if m.Ready {
			p.cfg.Steps.Latency.Record(latency.WarmPoolCheckout, time.Since(begin))
		}
		p.Wake()
		return m
	}
}

// take takes the machine of an entry of an origin out of the books.
func (p *Pool) take(from claim.Origin, now time.Time) *Machine {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.key(from)
	if !p.fits(key, from) {
		return nil
	}
	entry, ok := p.books.Checkout(key, now)
	if !ok {
		return nil
	}
	return p.machines[entry.ID]
}

func (p *Pool) find(id string) *Machine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machines[id]
}

func (p *Pool) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.machines, id)
}

// took is forget of a machine that was checked out.
func (p *Pool) took(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.machines, id)
	p.taken = now
}

// Drain ends all warm machines. Nothing else uses the pool any more.
func (p *Pool) Drain() {
	p.mu.Lock()
	left := slices.Collect(maps.Values(p.machines))
	p.mu.Unlock()
	var all sync.WaitGroup
	for _, m := range left {
		all.Go(func() {
			if err := p.end(m); err != nil {
				p.cfg.Log.Warn("could not destroy warm machine; the next start will", "machine_id", m.ID, "error", err)
			}
		})
	}
	all.Wait()
}

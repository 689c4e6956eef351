package runtime

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// pool keeps machines that were restored before anybody asked for them. A warm
// machine has the id of the sandbox that it will be, with the tokens, the
// hostname and the seed that go with it, so that there is little left to do when
// it is handed over. It has no row until then: a restart ends it as a machine of
// nobody.
type pool struct {
	books warmpool.Pool
	// kick asks for a refill now; it holds one token.
	kick chan struct{}

	mu       sync.Mutex
	limits   warmpool.Limits
	taken    time.Time               // the last checkout
	short    bool                    // there was no room on the disk
	machines map[string]*warm        // by id; also those that are being made
	origins  map[warmpool.Key]origin // what the entries of a key are made from
}

// warm is a machine of the pool: a sandbox that is not in use.
type warm struct {
	sb     *handle
	key    warmpool.Key
	origin origin
	// ready: it runs and has answered; otherwise it is prepared.
	ready bool
}

// WarmTarget is how many machines of a template are kept: Ready ones, which run
// and have answered, and Prepared ones, which need only to be started.
type WarmTarget struct {
	Ready, Prepared int
	// MaxAge is when a machine is replaced by a fresh one; 0 is never.
	MaxAge time.Duration
}

func newPool() *pool {
	return &pool{
		kick: make(chan struct{}, 1), limits: warmpool.Unlimited,
		machines: map[string]*warm{}, origins: map[warmpool.Key]origin{},
	}
}

// warmKey says which warm machines can serve sandboxes of an origin.
func (r *Runtime) warmKey(from origin) warmpool.Key {
	return warmpool.Key{Template: from.templateID, Profile: r.cfg.Driver.Info().Driver}
}

// keepWarm sets what the pool holds of a template from now on.
func (r *Runtime) keepWarm(from origin) {
	if r.cfg.Warm == (WarmTarget{}) {
		return
	}
	key := r.warmKey(from)
	r.pool.mu.Lock()
	r.pool.origins[key] = from
	r.pool.mu.Unlock()
	r.pool.books.SetTarget(key, warmpool.Target{Ready: r.cfg.Warm.Ready, Prepared: r.cfg.Warm.Prepared, MaxAge: r.cfg.Warm.MaxAge})
	r.pool.books.SetSnapshot(key, from.vmID+"/"+from.snapshot)
	r.pool.wake()
}

func (p *pool) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// lookAfterPool refills the pool until the runtime closes.
func (r *Runtime) lookAfterPool() {
	for {
		r.Refill(time.Now())
		select {
		case <-r.life.Done():
			return
		case <-r.pool.kick:
		case <-time.After(warmpool.RefillInterval):
		}
		for pause := r.cooldown(); pause > 0; pause = r.cooldown() {
			select {
			case <-r.life.Done():
				return
			case <-r.pool.kick: // It may be empty now.
			case <-time.After(pause):
			}
		}
	}
}

// cooldown is how long a refill has to wait yet.
func (r *Runtime) cooldown() time.Duration {
	now := time.Now()
	ready, _ := r.pool.books.Depth(now)
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	return warmpool.Rest(now, r.pool.taken, ready)
}

// Refill does once what the pool needs now, and returns how many actions it
// began; they end in the background. What fails is tried again later, and holds
// up nothing else.
func (r *Runtime) Refill(now time.Time) (begun int) {
	r.pool.mu.Lock()
	limits := r.pool.limits
	r.pool.mu.Unlock()
	limits = limits.Refilling(r.cfg.Launches, r.roomForPool())
	for _, action := range r.pool.books.Plan(now, limits) {
		flight, ok := r.pool.books.Begin(action, now)
		if !ok {
			continue // it was handed out in the meantime
		}
		begun++
		if !r.spawn(func() { r.carry(flight) }) {
			flight.Cancel()
		}
	}
	return begun
}

// carry does what was planned. The order of a launch is: reserve, launch, probe,
// retain; on a failure what was made is ended and its capacity released.
func (r *Runtime) carry(flight *warmpool.Flight) {
	if flight.Action.Op == warmpool.Retire {
		r.discard(r.pool.find(flight.Entry.ID))
		_ = flight.Done(flight.Entry.ID, time.Now())
		r.pool.wake()
		return
	}
	w, err := r.warmUp(flight)
	switch {
	case err == nil:
		// Once it is in the pool it is another's, who may end it at once.
		id, reservation := w.sb.id, w.sb.reservation
		if err := flight.Done(id, time.Now()); err != nil {
			r.log.Error("warm machine is not wanted", "machine", id, "error", err)
			r.discard(w)
		} else if _ = r.at(StepWarmRetained); reservation.Yielding() {
			r.yield(id) // It was told to go before it was in the pool.
		}
		r.pool.wake()
	case w == nil:
		flight.Cancel() // There is no capacity for it; who frees some wakes the pool.
	default:
		if r.life.Err() == nil {
			r.log.Warn("a warm machine could not be made", "template", w.origin.alias, "error", err)
		}
		flight.Fail(time.Now())
		if r.staleBase(r.life, w.origin, err) {
			r.spawn(func() { _ = r.Prepare(r.life) }) // It tells the pool when it is made.
		}
		r.discard(w)
	}
}

// warmUp makes a machine, or starts one that is prepared. It returns no machine
// if there is no capacity for it.
func (r *Runtime) warmUp(flight *warmpool.Flight) (*warm, error) {
	ctx, cancel := context.WithTimeout(r.life, createTimeout)
	defer cancel()
	w := r.pool.find(flight.Entry.ID)
	if w == nil {
		var err error
		if w, err = r.newWarm(flight.Action.Key); err != nil {
			return nil, err
		}
		if err := r.markScratch(w.sb.id); err != nil {
			return w, err
		}
		if err := r.restore(ctx, w.sb, launch{origin: w.origin}, flight.Action.Stage == warmpool.Ready); err != nil {
			return w, err
		}
	} else if err := r.loadPrepared(ctx, w); err != nil {
		return w, err
	}
	if flight.Action.Stage == warmpool.Ready {
		row := w.sb.snapshot()
		if err := r.deliver(ctx, row, launch{origin: w.origin}); err != nil {
			return w, err
		}
		if err := r.exercise(ctx, row); err != nil {
			return w, err
		}
		w.ready = true
	}
	w.sb.reservation.Launched()
	if waiter, ok := r.cfg.Driver.(vm.Waiter); ok {
		r.spawn(func() {
			_, err := waiter.Wait(r.life, w.sb.id)
			if r.life.Err() == nil && !errors.Is(err, vm.ErrNotFound) {
				r.yield(w.sb.id) // nothing, if it was handed over
			}
		})
	}
	return w, nil
}

// loadPrepared starts a prepared machine, which reads what was saved only now.
func (r *Runtime) loadPrepared(ctx context.Context, w *warm) error {
	if err := r.stillWhole(ctx, w.origin); err != nil {
		return err
	}
	err := r.cfg.Driver.Start(ctx, w.sb.id)
	return cmp.Or(r.stillWhole(ctx, w.origin), err)
}

// newWarm reserves capacity for a machine of a key.
func (r *Runtime) newWarm(key warmpool.Key) (*warm, error) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	from, ok := r.pool.origins[key]
	if !ok {
		return nil, errors.New("the template is gone")
	}
	w := &warm{sb: newHandle(r.newRow(sandbox.CreateRequest{Secure: true}, from, nil)), key: key, origin: from}
	reservation, err := r.ledger.ReserveWarm(capacity.WarmEntry{
		ID: w.sb.id, Key: capacity.WarmKey(key), Budget: budget(w.sb.row),
	})
	if err != nil {
		return nil, err
	}
	w.sb.reservation = reservation
	r.pool.machines[w.sb.id] = w
	return w, nil
}

func (p *pool) find(id string) *warm {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machines[id]
}

func (p *pool) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.machines, id)
}

// took is forget of a machine that was checked out.
func (p *pool) took(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.machines, id)
	p.taken = now
}

// yield ends a warm machine that active work needs the room of, or that died.
// One that is being handed over or made is ended by who does that.
func (r *Runtime) yield(id string) {
	if _, ok := r.pool.books.Remove(id); !ok {
		return
	}
	w := r.pool.find(id)
	r.spawn(func() {
		r.discard(w)
		r.pool.wake()
	})
}

// discard ends a warm machine that the pool does not have any more, and goes on
// trying until it is gone.
func (r *Runtime) discard(w *warm) {
	for pause := retryFirst; ; pause = min(pause*2, retryMost) {
		err := r.endWarm(w)
		if err == nil {
			return
		}
		r.log.Warn("a warm machine cannot be ended yet", "machine", w.sb.id, "error", err, "next try", pause)
		select {
		case <-r.life.Done():
			return // Close tries once more; the next Open finds a machine of nobody.
		case <-time.After(pause):
		}
	}
}

func (r *Runtime) endWarm(w *warm) error {
	ctx, cancel := detached(r.life)
	defer cancel()
	if err := r.unmake(ctx, w.sb, "", ""); err != nil {
		return err
	}
	r.pool.forget(w.sb.id)
	return r.unmarkScratch(w.sb.id)
}

// drainPool ends all warm machines. Nothing else uses the pool any more.
func (r *Runtime) drainPool() {
	r.pool.mu.Lock()
	left := slices.Collect(maps.Values(r.pool.machines))
	r.pool.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range left {
		all.Go(func() {
			if err := r.endWarm(w); err != nil {
				r.log.Warn("a warm machine is left for the next start to end", "machine", w.sb.id, "error", err)
			}
		})
	}
	all.Wait()
}

package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/rundlet/rundlet/policy/hygiene"
	"github.com/rundlet/rundlet/runtime/machine"
)

const (
	// leavingAge is how long a thing must have been in use by nobody before it is
	// freed: longer than any operation needs to say that it is its own.
	leavingAge = 10 * time.Minute
	// lockPatience is how long a look for leavings waits for template builds.
	lockPatience = 5 * time.Second
	// hygieneTimeout bounds one whole look.
	hygieneTimeout = 2 * time.Minute
)

// SlotLister is a Network that tells which slots are leased. Without it, leaked
// slots are found by the next Adopt only.
type SlotLister interface {
	// Leased returns the slots of this instance that Acquire or Adopt leased and
	// that were not released. Of each, ID and NetNS are set.
	Leased(ctx context.Context) ([]machine.Slot, error)
}

// clean frees what operations left behind whose own clean-up failed, forgets old
// rows, and leaves for the next time what cannot be freed now.
func (r *Runtime) clean(ctx context.Context) {
	r.sup.cleaning.Lock()
	defer r.sup.cleaning.Unlock()
	ctx, cancel := context.WithTimeout(ctx, hygieneTimeout)
	defer cancel()
	_, rows := r.cfg.Store.DropKilled(ctx, time.Now().Add(-killedKept), mostKilled)
	// For whoever copies the database file alone.
	rows = errors.Join(rows, r.cfg.Store.Checkpoint(ctx))
	for what, err := range map[string]error{
		"rows": rows, "snapshots": r.cleanSnapshots(ctx), "machines and networks": r.freeOrphans(ctx, time.Now()),
	} {
		if err != nil && r.life.Err() == nil {
			r.log.Warn("not all that nobody needs could be freed; it is tried again", "what", what, "error", err)
		}
	}
}

// cleanSnapshots is collect while others work. It does not wait for a template
// build, which has a snapshot before it has a row: then it looks the next time.
func (r *Runtime) cleanSnapshots(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	unlock, err := r.cfg.LockTemplates(patient)
	if err != nil && patient.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(r.claims.DropUnfinished(ctx), r.claims.Review(ctx, leavingAge))
}

// freeOrphans frees the driver's machines and the network's slots that nobody
// uses. The host does not say how old they are, so the age is the time since
// they were first found unused.
func (r *Runtime) freeOrphans(ctx context.Context, now time.Time) error {
	// Before what is in use: whoever makes something owns it first.
	found, ids, err := r.leavings(ctx)
	used := r.inUse()
	owned := hygiene.Owned{Instance: r.cfg.Instance, Owners: used}
	seen := map[hygiene.Object]time.Time{}
	for i := range found {
		f := &found[i]
		if used[f.Owner] {
			continue
		}
		first, ok := r.sup.orphans[f.Object]
		if !ok {
			first = now
		}
		seen[f.Object], f.Age = first, now.Sub(first)
	}
	r.sup.orphans = seen
	errs := []error{err}
	for _, o := range hygiene.Orphans(found, owned, leavingAge) {
		r.log.Warn("freeing what nobody uses", "kind", o.Kind, "name", o.Name, "reason", o.Why)
		var err error
		if o.Kind == hygiene.KindProcess {
			err = r.machines.Destroy(ctx, ids[o.Object])
		} else {
			err = r.cfg.Network.Release(ctx, ids[o.Object])
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.countFreed(string(o.Kind))
	}
	return errors.Join(errs...)
}

// leavings returns the machines and slots of this instance, and their ids.
// Nothing says for which sandbox a slot is leased: it is its own owner.
func (r *Runtime) leavings(ctx context.Context) ([]hygiene.Found, map[hygiene.Object]string, error) {
	var found []hygiene.Found
	ids := map[hygiene.Object]string{}
	add := func(kind hygiene.Kind, name, id string) {
		o := hygiene.Object{Kind: kind, Name: name}
		found = append(found, hygiene.Found{Object: o, Instance: r.cfg.Instance, Owner: id})
		ids[o] = id
	}
	views, err := r.cfg.Driver.List(ctx)
	for _, v := range views {
		add(hygiene.KindProcess, v.ID, v.ID)
	}
	if network, ok := r.cfg.Network.(SlotLister); ok {
		slots, slotErr := network.Leased(ctx)
		err = errors.Join(err, slotErr)
		for _, s := range slots {
			add(hygiene.KindNetNS, s.NetNS, s.ID)
		}
	}
	return found, ids, err
}

package runtime

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// OrphanRetention is how long what no row is about is kept, from when it was first
// found: long enough to notice it and to put a backup of the database in place.
const OrphanRetention = 7 * 24 * time.Hour

// orphans are the machines that are set aside, and what was told of.
type orphans struct {
	mu       sync.Mutex
	machines map[string]bool // by id
	told     map[string]bool // by name
}

// setAside keeps something of the driver that no row is about, since the row may
// be in a database that is not this one: nothing deletes it for OrphanRetention.
// It reports whether that is over, or an operator gave it up before.
func (r *Runtime) setAside(ctx context.Context, kind, vmID, snapshot string) (store.Orphan, bool, error) {
	now := time.Now()
	o, err := r.cfg.Store.SetAside(ctx, kind, vmID, snapshot, now)
	if err != nil {
		return o, false, err
	}
	over := o.Discard || now.Sub(o.Since) >= OrphanRetention
	r.orphans.mu.Lock()
	defer r.orphans.mu.Unlock()
	if !over && !r.orphans.told[o.Name] {
		r.orphans.told[o.Name] = true
		r.log.Warn("set aside: no row is about it; see \"rundlet orphan ls\"", "kind", kind, "name", o.Name,
			"since", o.Since, "kept_until", o.Since.Add(OrphanRetention))
	}
	return o, over, nil
}

// setAsideMachine keeps a machine of no row, as it is, until its time is over.
func (r *Runtime) setAsideMachine(ctx context.Context, id string) error {
	o, over, err := r.setAside(ctx, store.OrphanMachine, id, "")
	if err == nil && over {
		if err := r.destroy(ctx, id); err != nil {
			return err
		}
		r.countFreed("machine")
		return r.cfg.Store.ForgetOrphan(ctx, o)
	}
	// Also if it could not be recorded: a full disk is no reason to end it.
	r.orphans.mu.Lock()
	r.orphans.machines[id] = true
	r.orphans.mu.Unlock()
	return err
}

// aside reports whether a machine is set aside.
func (r *Runtime) aside(id string) bool {
	r.orphans.mu.Lock()
	defer r.orphans.mu.Unlock()
	return r.orphans.machines[id]
}

// reviewOrphans ends the machines whose time is over, and forgets the orphans that
// are gone or have a row again. snapshots are those of the driver that no row
// claims and that are at least so old.
func (r *Runtime) reviewOrphans(ctx context.Context, snapshots map[[2]string]bool, minAge time.Duration) error {
	all, err := r.cfg.Store.Orphans(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range all {
		switch o.Kind {
		case store.OrphanSnapshot:
			if !snapshots[[2]string{o.VMID, o.Snapshot}] && time.Since(o.Since) >= minAge {
				errs = append(errs, r.cfg.Store.ForgetOrphan(ctx, o))
			}
		case store.OrphanMachine:
			if _, there, err := r.cfg.Driver.Get(ctx, o.VMID); err != nil || there && r.aside(o.VMID) {
				if err == nil {
					err = r.setAsideMachine(ctx, o.VMID)
				}
				errs = append(errs, err)
			} else {
				errs = append(errs, r.cfg.Store.ForgetOrphan(ctx, o))
			}
		}
	}
	return errors.Join(errs...)
}

// Orphans counts what is set aside, by kind; and the sandboxes that need an
// operator as "sandbox".
func (r *Runtime) Orphans(ctx context.Context) (map[string]int, error) {
	out := map[string]int{store.OrphanSnapshot: 0, store.OrphanMachine: 0, "sandbox": 0}
	counts, err := r.cfg.Store.CountOrphans(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, counts)
	out["sandbox"], err = r.cfg.Store.CountQuarantined(ctx, sandbox.States)
	return out, err
}

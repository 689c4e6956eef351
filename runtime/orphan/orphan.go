// Package orphan sets aside unclaimed objects of the driver: machines and
// snapshots whose rows may be in another copy of the database. Nothing deletes
// an orphan before its retention is over, except an operator's command. It may
// import sandbox, store and vm; the parts of the runtime use it.
package orphan

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Retention is how long an orphan is kept after it was first found: long enough
// to notice it and to put a backup of the database in place.
const Retention = 7 * 24 * time.Hour

// Store is what a Keeper uses of the store, by table.
type Store struct {
	Orphans interface {
		SetAside(ctx context.Context, kind, vmID, snapshot string, now time.Time) (store.Orphan, error)
		All(ctx context.Context) ([]store.Orphan, error)
		Forget(ctx context.Context, o store.Orphan) error
		Count(ctx context.Context) (map[string]int, error)
	}
	Sandboxes interface {
		CountQuarantined(ctx context.Context, known []sandbox.State) (int, error)
	}
}

// Keeper sets orphans aside. Its fields are set before its first use. Safe for
// concurrent use.
type Keeper struct {
	Store  Store
	Driver vm.Query
	// Destroy ends a machine; one that is gone is not an error.
	Destroy func(ctx context.Context, id string) error
	// Freed counts the removed objects, by kind.
	Freed func(kind string)
	Log   *slog.Logger

	mu       sync.Mutex
	machines map[string]bool // set aside, by id
	told     map[string]bool // logged, by name
}

// Machines adds the ids of the machines that are set aside.
func (k *Keeper) Machines(ids map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.machines {
		ids[id] = true
	}
}

// SetAside records a machine or a snapshot without a row. It reports whether its
// retention is over, or an operator discarded it: then the caller removes it and
// the record.
func (k *Keeper) SetAside(ctx context.Context, kind, vmID, snapshot string) (store.Orphan, bool, error) {
	now := time.Now()
	o, err := k.Store.Orphans.SetAside(ctx, kind, vmID, snapshot, now)
	if err != nil {
		return o, false, err
	}
	over := o.Discard || now.Sub(o.Since) >= Retention
	k.mu.Lock()
	defer k.mu.Unlock()
	if !over && !k.told[o.Name] {
		if k.told == nil {
			k.told = map[string]bool{}
		}
		k.told[o.Name] = true
		k.Log.Warn("orphan found: no record in the database; see \"rundlet orphan ls\"", "kind", kind, "name", o.Name,
			"since", o.Since, "kept_until", o.Since.Add(Retention))
	}
	return o, over, nil
}

// Forget removes the record of an orphan that is gone.
func (k *Keeper) Forget(ctx context.Context, o store.Orphan) error {
	return k.Store.Orphans.Forget(ctx, o)
}

// SetAsideMachine keeps a machine without a row, running or not, until its
// retention is over.
func (k *Keeper) SetAsideMachine(ctx context.Context, id string) error {
	o, over, err := k.SetAside(ctx, store.OrphanMachine, id, "")
	if err == nil && over {
		if err := k.Destroy(ctx, id); err != nil {
			return err
		}
		k.Freed("machine")
		return k.Forget(ctx, o)
	}
	// Also if it could not be recorded: a full disk is not a reason to end it.
	k.mu.Lock()
	if k.machines == nil {
		k.machines = map[string]bool{}
	}
	k.machines[id] = true
	k.mu.Unlock()
	return err
}

// Aside reports whether a machine is set aside.
func (k *Keeper) Aside(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machines[id]
}

// Review ends the machines whose retention is over, and forgets the orphans that
// are gone or have a row again. snapshots are the driver's snapshots, by machine
// and name, that no row claims and that are at least minAge old.
func (k *Keeper) Review(ctx context.Context, snapshots map[[2]string]bool, minAge time.Duration) error {
	all, err := k.Store.Orphans.All(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range all {
		switch o.Kind {
		case store.OrphanSnapshot:
			if !snapshots[[2]string{o.VMID, o.Snapshot}] && time.Since(o.Since) >= minAge {
				errs = append(errs, k.Forget(ctx, o))
			}
		case store.OrphanMachine:
			if _, there, err := k.Driver.Get(ctx, o.VMID); err != nil || there && k.Aside(o.VMID) {
				if err == nil {
					err = k.SetAsideMachine(ctx, o.VMID)
				}
				errs = append(errs, err)
			} else {
				errs = append(errs, k.Forget(ctx, o))
			}
		}
	}
	return errors.Join(errs...)
}

// Count counts the orphans by kind, and as "sandbox" the quarantined sandboxes.
func (k *Keeper) Count(ctx context.Context) (map[string]int, error) {
	out := map[string]int{store.OrphanSnapshot: 0, store.OrphanMachine: 0, "sandbox": 0}
	counts, err := k.Store.Orphans.Count(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, counts)
	out["sandbox"], err = k.Store.Sandboxes.CountQuarantined(ctx, sandbox.States)
	return out, err
}

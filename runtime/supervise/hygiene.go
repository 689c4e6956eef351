package supervise

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rundlet/rundlet/policy/hygiene"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/vm"
)

const (
	// OrphanAge is how long a thing must have been unused before it is
	// freed: longer than any operation needs to say that it is its own.
	OrphanAge = 10 * time.Minute
	// LockPatience is how long a look for orphans waits for template builds.
	LockPatience = 5 * time.Second
	// hygieneTimeout bounds one whole look.
	hygieneTimeout = 2 * time.Minute
)

// KilledKept is how long killed sandboxes can be asked about, and MostKilled how
// many are kept at most, the newest; more are there only until the next look. A row
// has its metadata, and no spec.
const (
	KilledKept = 7 * 24 * time.Hour
	MostKilled = 10000
)

// CleanerStore is what a Cleaner uses of the store, by table.
type CleanerStore struct {
	Sandboxes interface {
		DropKilled(ctx context.Context, t time.Time, keep int) (dropped int64, err error)
	}
	// Checkpoint is that of the whole store.
	Checkpoint func(ctx context.Context) error
}

// CleanerConfig holds the dependencies and settings of a Cleaner. All fields are required.
type CleanerConfig struct {
	Instance string
	Driver   vm.Query
	// Network may be a SlotLister.
	Network       any
	Machines      *machine.Machines
	Claims        *claim.Claims
	Store         CleanerStore
	LockTemplates func(ctx context.Context) (unlock func(), err error)
	// InUse returns the ids of machines, slots and claims that are in use.
	InUse func() map[string]bool
	// Freed counts the freed objects, by hygiene.Kind.
	Freed func(kind string)
	// Life ends when the daemon closes.
	Life context.Context
	Log  *slog.Logger
}

// Cleaner frees objects that operations left behind. Safe for concurrent use.
type Cleaner struct {
	cfg CleanerConfig

	cleaning sync.Mutex                   // one look at a time; guards seen
	seen     map[hygiene.Object]time.Time // when each orphan was first seen
}

// NewCleaner returns a Cleaner that has not looked yet.
func NewCleaner(cfg CleanerConfig) *Cleaner { return &Cleaner{cfg: cfg} }

// SlotLister is a Network that lists leased slots. Without it, leaked
// slots are found by the next Adopt only.
type SlotLister interface {
	// Leased returns the slots of this instance that Acquire or Adopt leased and
	// that were not released. Of each, ID and NetNS are set.
	Leased(ctx context.Context) ([]machine.Slot, error)
}

// Clean frees objects of operations whose own clean-up failed, forgets old rows, and
// leaves objects that cannot be freed now for the next time.
func (c *Cleaner) Clean(ctx context.Context) {
	c.cleaning.Lock()
	defer c.cleaning.Unlock()
	ctx, cancel := context.WithTimeout(ctx, hygieneTimeout)
	defer cancel()
	_, rows := c.cfg.Store.Sandboxes.DropKilled(ctx, time.Now().Add(-KilledKept), MostKilled)
	// For copies of the database file alone.
	rows = errors.Join(rows, c.cfg.Store.Checkpoint(ctx))
	for what, err := range map[string]error{
		"rows": rows, "snapshots": c.CleanSnapshots(ctx), "machines and networks": c.FreeOrphans(ctx, time.Now()),
	} {
		if err != nil && c.cfg.Life.Err() == nil {
			c.cfg.Log.Warn("cleanup incomplete; will retry", "what", what, "error", err)
		}
	}
}

// CleanSnapshots collects snapshots while others work. It does not wait for a template
// build, which has a snapshot before it has a row: then it looks the next time.
func (c *Cleaner) CleanSnapshots(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, LockPatience)
	defer cancel()
	unlock, err := c.cfg.LockTemplates(patient)
	if err != nil && patient.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(c.cfg.Claims.DropUnfinished(ctx), c.cfg.Claims.Review(ctx, OrphanAge))
}

// FreeOrphans frees the driver's machines and the network's slots that no sandbox
// uses. The host does not say how old they are, so the age is the time since
// they were first found unused.
func (c *Cleaner) FreeOrphans(ctx context.Context, now time.Time) error {
	// Before what is in use: the creator of something owns it first.
	found, ids, err := c.present(ctx)
	used := c.cfg.InUse()
	owned := hygiene.Owned{Instance: c.cfg.Instance, Owners: used}
	seen := map[hygiene.Object]time.Time{}
	for i := range found {
		f := &found[i]
		if used[f.Owner] {
			continue
		}
		first, ok := c.seen[f.Object]
		if !ok {
			first = now
		}
		seen[f.Object], f.Age = first, now.Sub(first)
	}
	c.seen = seen
	errs := []error{err}
	for _, o := range hygiene.Orphans(found, owned, OrphanAge) {
		c.cfg.Log.Warn("freeing unused resource", "kind", o.Kind, "name", o.Name, "reason", o.Why)
		var err error
		if o.Kind == hygiene.KindProcess {
			err = c.cfg.Machines.Destroy(ctx, ids[o.Object])
		} else {
			err = c.cfg.Machines.Release(ctx, ids[o.Object])
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.cfg.Freed(string(o.Kind))
	}
	return errors.Join(errs...)
}

// present returns the machines and slots of this instance, and their ids.
// Nothing says for which sandbox a slot is leased: it is its own owner.
func (c *Cleaner) present(ctx context.Context) ([]hygiene.Found, map[hygiene.Object]string, error) {
	var found []hygiene.Found
	ids := map[hygiene.Object]string{}
	add := func(kind hygiene.Kind, name, id string) {
		o := hygiene.Object{Kind: kind, Name: name}
		found = append(found, hygiene.Found{Object: o, Instance: c.cfg.Instance, Owner: id})
		ids[o] = id
	}
	views, err := c.cfg.Driver.List(ctx)
	for _, v := range views {
		add(hygiene.KindProcess, v.ID, v.ID)
	}
	if network, ok := c.cfg.Network.(SlotLister); ok {
		slots, slotErr := network.Leased(ctx)
		err = errors.Join(err, slotErr)
		for _, s := range slots {
			add(hygiene.KindNetNS, s.NetNS, s.ID)
		}
	}
	return found, ids, err
}

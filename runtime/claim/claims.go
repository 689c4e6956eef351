// Package claim keeps the claims on snapshots. A claim is a row that names
// a user of a snapshot of the driver: a paused sandbox, a client's snapshot, a
// continuation or a fork. The driver's snapshot is deleted with its last claim. The
// package also seals snapshots (it computes their manifests), checks them before
// and after a restore, and collects unclaimed snapshots. It may import sandbox,
// policy, store, vm, and the parts of the runtime below it: step, background,
// fault and orphan.
package claim

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Store is what Claims use of the store, by table.
type Store struct {
	Snapshots Snapshots
	Sandboxes interface {
		Get(ctx context.Context, id string) (store.Sandbox, error)
	}
	Environments interface {
		Copy(ctx context.Context, to, from string) error
	}
	Templates interface {
		All(ctx context.Context) ([]store.Template, error)
	}
	Garbage interface {
		All(ctx context.Context) (map[[2]string]bool, error)
		Forget(ctx context.Context, t time.Time, present map[[2]string]bool) error
	}
}

// Snapshots is the table of claims.
type Snapshots interface {
	Get(ctx context.Context, idOrName string) (store.Snapshot, error)
	Add(ctx context.Context, n *store.Snapshot, c store.Counted) error
	Put(ctx context.Context, n *store.Snapshot, events ...sandbox.Event) error
	Seal(ctx context.Context, id string, version int64, manifest string) error
	Drop(ctx context.Context, id string, version int64) (last bool, err error)
	Release(ctx context.Context, id string, version int64) error
	Claims(ctx context.Context) ([]store.Snapshot, error)
	Unsealed(ctx context.Context, instance string) ([]store.Snapshot, error)
}

// Background runs goroutines until the daemon closes: a *background.Group.
type Background interface {
	Go(f func()) bool
	Context() context.Context
}

// Config holds the dependencies and settings of Claims. All fields are required.
type Config struct {
	Instance string
	// Node is the id of this node; with the name of the driver it says which claims
	// are on snapshots that are here.
	Node string
	// Ephemeral: unclaimed objects are not set aside, but left to their instance.
	Ephemeral  bool
	Driver     vm.Runtime
	Store      Store
	Orphans    *orphan.Keeper
	Background Background
	Steps      *step.Recorder
	// Bounds are the most snapshots and continuations of a key, and of all.
	Bounds store.Counted
	// InUse returns the ids of claims that an operation in progress is about to
	// fill or to drop.
	InUse func() map[string]bool
	// Freed counts the removed objects, by kind.
	Freed func(kind string)
	Log   *slog.Logger
}

// Claims keeps the claims of one instance. Safe for concurrent use.
type Claims struct {
	cfg    Config
	verify *verifier
	// sealing serializes digest computation, which is CPU-bound: a restore that
	// waits for one digest does not wait for all.
	sealing chan struct{}

	mu       sync.Mutex
	reported map[string]bool // the damaged snapshots that were logged
}

// New returns Claims.
func New(cfg Config) *Claims {
	return &Claims{
		cfg: cfg, verify: newVerifier(cfg.Background), sealing: make(chan struct{}, 1), reported: map[string]bool{},
	}
}

// HoldSeals makes seals wait until release is called. It is for tests.
func (c *Claims) HoldSeals() (release func()) {
	c.sealing <- struct{}{}
	return func() { <-c.sealing }
}

// HoldReads makes reads of snapshots wait until release is called. It is for
// tests.
func (c *Claims) HoldReads() (release func()) {
	for range maxReaders {
		c.verify.slots <- struct{}{}
	}
	return func() {
		for range maxReaders {
			<-c.verify.slots
		}
	}
}

// Reads returns how many snapshots were read, and how many reads are in progress.
func (c *Claims) Reads() (begun, inProgress int) {
	c.verify.mu.Lock()
	defer c.verify.mu.Unlock()
	return int(c.verify.reads.Load()), len(c.verify.reading)
}

package claim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Claim returns a new claim, which is not written yet, on a snapshot that will be
// taken of a sandbox.
func (c *Claims) Claim(row store.Sandbox, kind string) store.Snapshot {
	id := sandbox.NewID()[1:]
	return store.Snapshot{
		ID: id, Instance: c.cfg.Instance, Kind: kind, State: store.SnapshotSaving, VMID: row.ID, Snapshot: id,
		Source: row.ID, Parent: row.OriginID, TemplateID: row.TemplateID, Alias: row.Alias, BuildID: row.BuildID,
		Spec: row.Spec, VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB, KeyID: row.KeyID,
		CreatedAt: time.Now(), Node: c.cfg.Node, Driver: c.cfg.Driver.Info().Driver, Defaults: row.Defaults, Freshness: row.Freshness,
	}
}

// Saved records that the snapshot of a claim is complete, with the events that this is.
func (c *Claims) Saved(ctx context.Context, claim *store.Snapshot, events ...sandbox.Event) error {
	if inspector, ok := c.cfg.Driver.(vm.SnapshotInspector); ok {
		info, err := inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
		if err != nil {
			return err
		}
		for _, f := range info.Files {
			claim.Bytes += f.Bytes
		}
		c.verify.saved(string(artifact(claim.VMID, claim.Snapshot)), info.Files)
	}
	claim.State = store.SnapshotReady
	return c.cfg.Store.Snapshots.Put(ctx, claim, events...)
}

// Publish writes a claim on a snapshot that is complete already, with the
// environment of a sandbox, and with events. Its name moves from another snapshot last.
func (c *Claims) Publish(ctx context.Context, claim *store.Snapshot, of string, events ...sandbox.Event) (err error) {
	whole := *claim
	claim.State, claim.Name = store.SnapshotSaving, ""
	if err := c.Add(ctx, claim); err != nil {
		return err
	}
	whole.Version = claim.Version
	if err = c.cfg.Store.Environments.Copy(ctx, claim.ID, of); err == nil {
		*claim = whole
		err = c.cfg.Store.Snapshots.Put(ctx, claim, events...)
	}
	if err != nil {
		err = errors.Join(err, c.Drop(ctx, claim.ID))
	}
	return err
}

// ByID returns a claim by its id, or store.ErrNotFound. The store also looks for names,
// and the id of a claim that is gone may be the name of another one.
func ByID(ctx context.Context, claims interface {
	Get(ctx context.Context, idOrName string) (store.Snapshot, error)
}, id string) (store.Snapshot, error) {
	claim, err := claims.Get(ctx, id)
	if err == nil && claim.ID != id {
		return store.Snapshot{}, fmt.Errorf("snapshot %.128q: %w", id, store.ErrNotFound)
	}
	return claim, err
}

// Drop removes a claim, and the driver's snapshot with the last one. A claim that
// does not exist is not an error. One of another node or driver is refused: its files
// cannot be removed from here. It goes on when ctx ends: a claim without its row is
// found by nothing that runs, and its files would stay until the next start.
func (c *Claims) Drop(ctx context.Context, id string) error {
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	var refused int64 // the version that the last try found
	for {
		claim, err := ByID(ctx, c.cfg.Store.Snapshots, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		// What was asked for is the end of the claim, whatever its row says by now: its
		// manifest, say, or that its name has moved. A row that is stale and has not
		// changed shows a defect.
		err = c.drop(ctx, claim)
		if !errors.Is(err, store.ErrStale) || claim.Version == refused {
			return err
		}
		refused = claim.Version
	}
}

// drop is Drop of a claim as it was read; store.ErrStale if it was changed since.
func (c *Claims) drop(ctx context.Context, claim store.Snapshot) error {
	if err := c.Here(claim); err != nil {
		return err
	}
	last, err := c.cfg.Store.Snapshots.Drop(ctx, claim.ID, claim.Version)
	if err != nil || !last {
		return err
	}
	if err := c.cfg.Steps.At(step.SnapshotDropped); err != nil {
		return err
	}
	if err := c.DeleteFiles(ctx, claim.VMID, claim.Snapshot); err != nil {
		return err
	}
	c.verify.forget(string(artifact(claim.VMID, claim.Snapshot)))
	_ = c.cfg.Steps.At(step.SnapshotDeleted)
	return nil
}

// DeleteFiles removes a snapshot of the driver.
func (c *Claims) DeleteFiles(ctx context.Context, vmID, name string) error {
	if deleter, ok := c.cfg.Driver.(vm.SnapshotDeleter); ok {
		return deleter.DeleteSnapshot(ctx, vmID, name)
	}
	return nil
}

// Find returns a complete snapshot of a kind by id or name;
// sandbox.ErrSnapshotNotFound.
func (c *Claims) Find(ctx context.Context, idOrName, kind string) (store.Snapshot, error) {
	claim, err := c.cfg.Store.Snapshots.Get(ctx, idOrName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return claim, fault.Classify(err)
	}
	if err != nil || claim.Kind != kind || claim.State != store.SnapshotReady {
		return claim, fmt.Errorf("snapshot %.128q: %w", idOrName, sandbox.ErrSnapshotNotFound)
	}
	return claim, nil
}

// Add writes a new claim, within the bounds of its key.
func (c *Claims) Add(ctx context.Context, n *store.Snapshot) error {
	if !slices.Contains(c.cfg.Bounds.Kinds, n.Kind) {
		return c.cfg.Store.Snapshots.Put(ctx, n)
	}
	err := c.cfg.Store.Snapshots.Add(ctx, n, c.cfg.Bounds)
	var full *store.BoundError
	if !errors.As(err, &full) {
		return err
	}
	if full.OfKey {
		return fault.Share("this key has %d snapshots and cannot have more: delete some of them", full.Have)
	}
	return fault.Share("this machine has %d snapshots and accepts no more: delete some of them", full.Have)
}

// Forget drops the cached state of the files of a deleted snapshot.
func (c *Claims) Forget(vmID, name string) { c.verify.forget(string(artifact(vmID, name))) }

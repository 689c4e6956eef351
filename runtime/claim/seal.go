package claim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Seal computes the manifest of a snapshot that was just saved and stores it, in
// the background: reading the files again would double the time that a sandbox
// takes to pause. A snapshot that is not sealed yet when the daemon ends is
// sealed by the next one.
func (c *Claims) Seal(claim store.Snapshot) {
	inspector, ok := c.cfg.Driver.(vm.SnapshotInspector)
	if !ok || claim.Bytes == 0 {
		return // Nothing of it is in files.
	}
	c.cfg.Background.Go(func() {
		select {
		case c.sealing <- struct{}{}:
			defer func() { <-c.sealing }()
		case <-c.cfg.Background.Context().Done():
			return
		}
		manifest, err := c.Manifest(c.cfg.Background.Context(), inspector, claim)
		if err == nil {
			err = c.writeSeal(c.cfg.Background.Context(), claim, string(manifest))
		}
		if err == nil || c.cfg.Background.Context().Err() != nil {
			return
		}
		// It may be gone already: a resume needs no more than what was saved.
		if _, gone := ByID(c.cfg.Background.Context(), c.cfg.Store.Snapshots, claim.ID); gone == nil {
			c.cfg.Log.Warn("could not seal snapshot", "snapshot_id", claim.ID, "error", err)
		}
	})
}

// writeSeal stores the manifest of a claim. Its row may have been changed since it was
// read, by a name that moved away: nothing that the manifest is about changes.
func (c *Claims) writeSeal(ctx context.Context, claim store.Snapshot, manifest string) error {
	for {
		err := c.cfg.Store.Snapshots.Seal(ctx, claim.ID, claim.Version, manifest)
		if !errors.Is(err, store.ErrStale) {
			return err
		}
		now, gone := ByID(ctx, c.cfg.Store.Snapshots, claim.ID)
		if gone != nil || now.Version == claim.Version || now.State != store.SnapshotReady {
			return err
		}
		claim = now
	}
}

// Manifest describes the driver's snapshot that a claim is for, with digests.
func (c *Claims) Manifest(ctx context.Context, inspector vm.SnapshotInspector, claim store.Snapshot) ([]byte, error) {
	info, err := inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
	if err != nil {
		return nil, err
	}
	sums, err := c.verify.contents(ctx, string(artifact(claim.VMID, claim.Snapshot)), info.Files)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", claim.ID, err)
	}
	spec := sha256.Sum256([]byte(claim.Spec))
	m := snapshot.Manifest{
		ID: snapshot.Ref(claim.ID), Kind: snapshot.Kind(claim.Kind), Parent: snapshot.Ref(claim.Parent), Source: claim.VMID,
		CreatedAt: claim.CreatedAt, Reason: claim.Reason, SpecDigest: hex.EncodeToString(spec[:]), Stamp: info.Stamp,
	}
	for _, f := range info.Files {
		m.Files = append(m.Files, snapshot.File{Name: f.Name, Bytes: sums[f.Name].Bytes, SHA256: sums[f.Name].SHA256})
	}
	return snapshot.Encode(m)
}

// Resealed returns the manifest of a claim for another claim on the same
// snapshot.
func Resealed(manifest string, claim store.Snapshot) (string, error) {
	m, err := snapshot.Decode([]byte(manifest))
	if err != nil {
		return "", err
	}
	m.ID, m.Kind, m.CreatedAt, m.Reason = snapshot.Ref(claim.ID), snapshot.Kind(claim.Kind), claim.CreatedAt, claim.Reason
	out, err := snapshot.Encode(m)
	return string(out), err
}

// Fits reports an error, before anything is done, if this host cannot restore an
// origin.
func (c *Claims) Fits(from Origin) error {
	if err := here(from.Node, from.Driver, c.cfg.Node, c.cfg.Driver.Info().Driver); err != nil {
		return fmt.Errorf("snapshot %s: %w", from.ID, err)
	}
	inspector, ok := c.cfg.Driver.(vm.SnapshotInspector)
	if !ok || from.Manifest == "" {
		return nil // The driver checks what it needs.
	}
	m, err := snapshot.Decode([]byte(from.Manifest))
	if err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := m.Compatible(inspector.HostStamp()); err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	return nil
}

// Whole refuses an origin whose files differ from the saved data, or, as long as
// their digests are not known, from their state just after the save. Called before
// and after a restore, it covers the data that the restore read.
func (c *Claims) Whole(ctx context.Context, from Origin) error {
	inspector, ok := c.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return nil
	}
	info, err := inspector.InspectSnapshot(ctx, from.VMID, from.Snapshot)
	if err != nil {
		return err
	}
	key := string(artifact(from.VMID, from.Snapshot))
	if from.Manifest == "" {
		err = c.verify.asSaved(key, info.Files)
	} else {
		err = c.verify.compare(ctx, key, from.Manifest, info.Files)
	}
	if err == nil {
		return nil
	}
	if _, gone := inspector.InspectSnapshot(ctx, from.VMID, from.Snapshot); errors.Is(gone, vm.ErrNotFound) {
		return gone // It was deleted meanwhile, which is not damage.
	}
	var damaged *snapshot.DamagedError
	if !errors.As(err, &damaged) && !errors.Is(err, unix.EIO) {
		return err // The daemon could not read it, which proves nothing.
	}
	c.verify.doubt(key)
	if c.verify.tell(key, err.Error()) {
		c.cfg.Log.Error("snapshot damaged; kept, but cannot be restored", "snapshot_id", from.ID, "error", err)
	}
	return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
}

// StillWhole is Whole after a restore: a snapshot that was deleted meanwhile was
// read all the same.
func (c *Claims) StillWhole(ctx context.Context, from Origin) error {
	err := c.Whole(ctx, from)
	if errors.Is(err, vm.ErrNotFound) {
		return nil
	}
	return err
}

package runtime

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

// seal computes the manifest of a snapshot that was just saved and stores it, in
// the background: reading the files again would double the time that a sandbox
// takes to pause. A snapshot that is not sealed yet when the daemon ends is
// sealed by the next one.
func (r *Runtime) seal(claim store.Snapshot) {
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok || claim.Bytes == 0 {
		return // Nothing of it is in files.
	}
	r.spawn(func() {
		select {
		case r.sealing <- struct{}{}:
			defer func() { <-r.sealing }()
		case <-r.life.Done():
			return
		}
		manifest, err := r.manifest(r.life, inspector, claim)
		if err == nil {
			err = r.cfg.Store.SealSnapshot(r.life, claim.ID, string(manifest))
		}
		if err == nil || r.life.Err() != nil {
			return
		}
		// It may be gone already: a resume needs no more than what was saved.
		if _, gone := r.cfg.Store.Snapshot(r.life, claim.ID); gone == nil {
			r.log.Warn("snapshot cannot be sealed", "snapshot_id", claim.ID, "error", err)
		}
	})
}

// manifest describes the driver's snapshot that a claim is for, with digests.
func (r *Runtime) manifest(ctx context.Context, inspector vm.SnapshotInspector, claim store.Snapshot) ([]byte, error) {
	info, err := inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
	if err != nil {
		return nil, err
	}
	sums, err := r.verify.contents(ctx, string(artifact(claim.VMID, claim.Snapshot)), info.Files)
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

// resealed is the manifest of a claim for another claim on the same files.
func resealed(manifest string, claim store.Snapshot) (string, error) {
	m, err := snapshot.Decode([]byte(manifest))
	if err != nil {
		return "", err
	}
	m.ID, m.Kind, m.CreatedAt, m.Reason = snapshot.Ref(claim.ID), snapshot.Kind(claim.Kind), claim.CreatedAt, claim.Reason
	out, err := snapshot.Encode(m)
	return string(out), err
}

// fits refuses, before anything is done, an origin that this host cannot
// restore.
func (r *Runtime) fits(from origin) error {
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok || from.manifest == "" {
		return nil // The driver checks what it needs.
	}
	m, err := snapshot.Decode([]byte(from.manifest))
	if err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if err := m.Compatible(inspector.HostStamp()); err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	return nil
}

// whole refuses an origin whose files do not hold what was saved, or what they
// held just after the save as long as their digests are not known. Asked before
// a restore and after it, it answers for what the restore read.
func (r *Runtime) whole(ctx context.Context, from origin) error {
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return nil
	}
	info, err := inspector.InspectSnapshot(ctx, from.vmID, from.snapshot)
	if err != nil {
		return err
	}
	key := string(artifact(from.vmID, from.snapshot))
	if from.manifest == "" {
		err = r.verify.asSaved(key, info.Files)
	} else {
		err = r.verify.compare(ctx, key, from.manifest, info.Files)
	}
	if err == nil {
		return nil
	}
	if _, gone := inspector.InspectSnapshot(ctx, from.vmID, from.snapshot); errors.Is(gone, vm.ErrNotFound) {
		return gone // It was deleted meanwhile, which is no damage.
	}
	var damaged *snapshot.DamagedError
	if !errors.As(err, &damaged) && !errors.Is(err, unix.EIO) {
		return err // The daemon could not read it, which proves nothing.
	}
	r.verify.doubt(key)
	if r.verify.tell(key, err.Error()) {
		r.log.Error("snapshot is damaged; it is kept and cannot be restored", "snapshot_id", from.id, "error", err)
	}
	return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
}

// stillWhole is whole after a restore: a snapshot that was deleted meanwhile was
// read all the same.
func (r *Runtime) stillWhole(ctx context.Context, from origin) error {
	err := r.whole(ctx, from)
	if errors.Is(err, vm.ErrNotFound) {
		return nil
	}
	return err
}

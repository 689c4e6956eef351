package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/snapshot"
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
	r.knownWhole(claim.VMID, claim.Snapshot)
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
			r.log.Warn("could not compute the digests of a snapshot", "snapshot", claim.ID, "error", err)
		}
	})
}

// manifest describes the driver's snapshot that a claim is for, with digests.
func (r *Runtime) manifest(ctx context.Context, inspector vm.SnapshotInspector, claim store.Snapshot) ([]byte, error) {
	info, err := inspector.InspectSnapshot(ctx, claim.VMID, claim.Snapshot)
	if err != nil {
		return nil, err
	}
	spec := sha256.Sum256([]byte(claim.Spec))
	m := snapshot.Manifest{
		ID: snapshot.Ref(claim.ID), Kind: snapshot.Kind(claim.Kind), Parent: snapshot.Ref(claim.Parent), Source: claim.VMID,
		CreatedAt: claim.CreatedAt, Reason: claim.Reason, SpecDigest: hex.EncodeToString(spec[:]), Stamp: info.Stamp,
	}
	for _, f := range info.Files {
		sum, n, err := digest(ctx, f.Path)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", claim.ID, err)
		}
		m.Files = append(m.Files, snapshot.File{Name: f.Name, Bytes: n, SHA256: sum})
	}
	return snapshot.Encode(m)
}

// digest reads a file until the context ends.
func digest(ctx context.Context, path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return snapshot.Digest(whileAlive{ctx, f})
}

type whileAlive struct {
	ctx context.Context
	r   io.Reader
}

func (w whileAlive) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// usable refuses, before anything is started, an origin that this host cannot
// restore or whose files are damaged. The digests of what this process saved
// itself, or has read once, are not read again.
func (r *Runtime) usable(ctx context.Context, from origin) error {
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
	key := from.vmID + "/" + from.snapshot
	r.mu.Lock()
	whole := r.verified[key]
	r.mu.Unlock()
	if whole {
		return nil
	}
	info, err := inspector.InspectSnapshot(ctx, from.vmID, from.snapshot)
	if err != nil {
		return err
	}
	paths := map[string]string{}
	for _, f := range info.Files {
		paths[f.Name] = f.Path
	}
	if err := snapshot.Verify(m.Files, func(name string) (io.ReadCloser, error) { return os.Open(paths[name]) }); err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	r.knownWhole(from.vmID, from.snapshot)
	return nil
}

func (r *Runtime) knownWhole(vmID, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verified[vmID+"/"+name] = true
}

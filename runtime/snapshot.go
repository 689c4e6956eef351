package runtime

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Snapshot saves a sandbox that keeps running, or names the snapshot of a paused one,
// so that new sandboxes can be created from it. A name that another snapshot has moves
// to this one.
func (r *Runtime) Snapshot(ctx context.Context, id, name, keyID string) (sandbox.Snapshot, error) {
	if name != "" && !snapshotName.MatchString(name) {
		return sandbox.Snapshot{}, fmt.Errorf("%w: snapshot name %.128q: use a to z, 0 to 9, '.', '_', '-', '/' and ':', at most 128 of them", sandbox.ErrInvalid, name)
	}
	if err := nameIsNoID(ctx, r, name); err != nil {
		return sandbox.Snapshot{}, err
	}
	snap, err := capture(ctx, r, id, func(snap *store.Snapshot) {
		snap.Kind, snap.Name, snap.KeyID = claim.KindSnapshot, name, keyID
	})
	if err != nil {
		return sandbox.Snapshot{}, fmt.Errorf("snapshot sandbox %s: %w", id, err)
	}
	return viewSnapshot(snap), nil
}

// nameIsNoID refuses the id of a snapshot as the name of another, which could
// not be found by it.
func nameIsNoID(ctx context.Context, r *Runtime, name string) error {
	if name == "" {
		return nil
	}
	bare, _, _ := strings.Cut(name, ":")
	snap, err := r.cfg.Store.Snapshots.Get(ctx, bare)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && snap.ID != bare:
		return nil
	case err != nil:
		return fault.Classify(err)
	}
	return fmt.Errorf("%w: snapshot name %.128q: it is the id of a snapshot", sandbox.ErrInvalid, name)
}

// snapshotName matches the names of snapshots; with "/" for a name space and ":"
// for a tag.
var snapshotName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/:-]{0,127}$`)

// capture claims the state of a sandbox as it is: it saves a running one, and
// shares the files of a paused one. change completes the claim.
func capture(ctx context.Context, r *Runtime, id string, change func(*store.Snapshot)) (store.Snapshot, error) {
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return store.Snapshot{}, err
	}
	if err := sb.LockSettled(ctx); err != nil {
		return store.Snapshot{}, err
	}
	return background.Await(ctx, r.background, func() (store.Snapshot, error) {
		defer sb.Life.Unlock()
		return r.saver.Capture(ctx, sb, change)
	})
}

// DeleteSnapshot removes a snapshot or continuation by id, or a snapshot by
// name. Sandboxes made from it run on.
func (r *Runtime) DeleteSnapshot(ctx context.Context, idOrName string) error {
	snap, err := r.claims.Find(ctx, idOrName, claim.KindSnapshot)
	if errors.Is(err, sandbox.ErrSnapshotNotFound) {
		snap, err = r.claims.Find(ctx, idOrName, claim.KindContinuation)
	}
	if err != nil {
		return err
	}
	return fault.Classify(r.claims.Drop(ctx, snap.ID))
}

// Snapshots returns the snapshots that match, the newest first.
func (r *reads) Snapshots(ctx context.Context, f sandbox.SnapshotFilter) ([]sandbox.Snapshot, error) {
	page := store.Page{Kind: claim.KindSnapshot, Source: f.SandboxID, Name: f.Name, AllTags: f.AllTags, Limit: f.Limit}
	if f.After != nil {
		page.AfterTime, page.AfterID = f.After.StartedAt, f.After.ID
	}
	rows, err := r.cfg.Store.Snapshots.Page(ctx, page)
	if err != nil {
		return nil, fault.Classify(err)
	}
	out := make([]sandbox.Snapshot, len(rows))
	for i, row := range rows {
		out[i] = viewSnapshot(row)
	}
	return out, nil
}

func viewSnapshot(row store.Snapshot) sandbox.Snapshot {
	return sandbox.Snapshot{ID: row.ID, Name: row.Name, SandboxID: row.Source, CreatedAt: row.CreatedAt, Bytes: row.Bytes, KeyID: row.KeyID}
}

package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/store"
)

// put writes the row of a sandbox, as it was read from the handle and changed, and
// gives the handle its new version. The caller holds sb.Life, which makes it the only
// writer.
//
// store.ErrStale shows that there is another one. Nothing was written then, and nothing
// of the sandbox may be removed on the strength of what the handle says: the call
// fails, what it did is undone, and the next start goes by the row. Only a kill goes on:
// see putOver.
func (r *Runtime) put(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) error {
	err := r.cfg.Store.PutSandbox(ctx, row)
	if errors.Is(err, store.ErrStale) {
		r.log.Error("sandbox row was changed by another writer; operator action required", "sandbox_id", sb.ID, "version", row.Version)
	}
	if err != nil {
		return err
	}
	sb.SetVersion(row.Version)
	return nil
}

// putOver is put of the intent to kill, which wins over whatever else a row says, unless
// the row names something saved that the handle knows nothing of: that would be lost.
func (r *Runtime) putOver(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) error {
	for {
		err := r.put(ctx, sb, row)
		if !errors.Is(err, store.ErrStale) {
			return err
		}
		now, read := r.cfg.Store.Sandbox(ctx, row.ID)
		switch {
		case errors.Is(read, store.ErrNotFound):
			row.Version = 0 // The end of the sandbox is worth a row.
		case read != nil:
			return errors.Join(err, read)
		case now.SnapshotID != "" && now.SnapshotID != row.SnapshotID, now.Instance != row.Instance, r.claims.SandboxHere(now) != nil:
			return fmt.Errorf("%w: it is %s there, with snapshot %q, of instance %s; it is not ended", err, now.State, now.SnapshotID, now.Instance)
		default:
			row.Version = now.Version
		}
	}
}

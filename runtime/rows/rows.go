// Package rows writes the rows of sandboxes, by compare-and-swap. The package may import
// store and runtime/live.
package rows

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rundlet/rundlet/runtime/events"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Store is what a Writer uses of the store, by table.
type Store struct {
	Sandboxes interface {
		Get(ctx context.Context, id string) (store.Sandbox, error)
		Put(ctx context.Context, row *store.Sandbox, events ...sandbox.Event) error
	}
}

// Writer writes the rows of live sandboxes. All fields but Journal are required, and all are constant. Safe
// for concurrent use.
type Writer struct {
	Store Store
	// Here returns why a row is of another node or driver; nil if it is of this one.
	Here func(store.Sandbox) error
	// Journal decides which events a change is; nil: none.
	Journal *events.Journal
	Log     *slog.Logger
}

// Put writes the row of a sandbox, as it was read from it and changed, with the events that
// the change is, and gives the sandbox its new version. The caller holds sb.Life, which makes it the only
// writer.
//
// store.ErrStale shows that there is another one. Nothing was written then, and no part
// of the sandbox may be removed by the knowledge of the daemon: the call fails, its work
// is undone, and the next start uses the row. Only a kill continues: see PutOver.
func (w *Writer) Put(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) error {
	change := w.Journal.Change(sb.Written.Last(), *row)
	err := w.Store.Sandboxes.Put(ctx, row, change...)
	if errors.Is(err, store.ErrStale) {
		w.Log.Error("sandbox row was changed by another writer; operator action required", "sandbox_id", sb.ID, "version", row.Version)
	}
	if err != nil {
		return err
	}
	sb.SetVersion(row.Version)
	sb.Written.Note(*row)
	w.Journal.Wrote(change)
	return nil
}

// PutOver is Put of the intent to kill, which wins over whatever else a row says, unless
// the row names something saved that the daemon knows nothing of: that would be lost.
func (w *Writer) PutOver(ctx context.Context, sb *live.Sandbox, row *store.Sandbox) error {
	for {
		err := w.Put(ctx, sb, row)
		if !errors.Is(err, store.ErrStale) {
			return err
		}
		now, read := w.Store.Sandboxes.Get(ctx, row.ID)
		switch {
		case errors.Is(read, store.ErrNotFound):
			row.Version = 0 // The end of the sandbox is worth a row.
		case read != nil:
			return errors.Join(err, read)
		case now.SnapshotID != "" && now.SnapshotID != row.SnapshotID, now.Instance != row.Instance, w.Here(now) != nil:
			return fmt.Errorf("%w: the row has state %s, snapshot %q and instance %s; the sandbox is not ended", err, now.State, now.SnapshotID, now.Instance)
		default:
			row.Version = now.Version
		}
	}
}

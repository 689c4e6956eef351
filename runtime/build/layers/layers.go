// Package layers keeps the states after the steps of builds, which are called layers, as snapshots for later builds. It may import
// sandbox, store, and runtime/claim.
package layers

import (
	"context"
	"errors"
	"log/slog"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Most is how many layers a node keeps.
const Most = 64

// Layers are those of one node. All fields are required. Safe for concurrent use.
type Layers struct {
	Claims interface {
		Find(ctx context.Context, idOrName, kind string) (store.Snapshot, error)
		Drop(ctx context.Context, id string) error
	}
	Rows interface {
		Page(ctx context.Context, p store.Page) ([]store.Snapshot, error)
	}
	Log *slog.Logger
}

// Name is the name of the claim of a layer, whose state has a name. No client can give a snapshot such a name.
func Name(state string) string { return "#" + state }

// Find returns the layer of a state, and whether it is there.
func (l Layers) Find(ctx context.Context, state string) (store.Snapshot, bool, error) {
	layer, err := l.Claims.Find(ctx, Name(state), claim.KindLayer)
	if errors.Is(err, sandbox.ErrSnapshotNotFound) {
		return layer, false, nil
	}
	return layer, err == nil, err
}

// DropBut drops all but the newest layers. A build that begins with one goes on.
func (l Layers) DropBut(ctx context.Context, keep int) {
	layers, err := l.Rows.Page(ctx, store.Page{Kind: claim.KindLayer})
	if err != nil {
		l.Log.Warn("could not list the layers of templates", "error", err)
		return
	}
	for i, layer := range layers {
		if i < keep {
			continue
		}
		if err := l.Claims.Drop(ctx, layer.ID); err != nil {
			l.Log.Warn("could not delete a layer of a template", "snapshot_id", layer.ID, "error", err)
		}
	}
}

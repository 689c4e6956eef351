package control

import (
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// CreateSnapshot serves POST /sandboxes/{sandboxID}/snapshots.
func (o *operations) CreateSnapshot(w http.ResponseWriter, r *http.Request, id string, p openapi.CreateSnapshotParams) {
	snapshot, err := o.snapshot(w, r, id, p.IdempotencyKey)
	if err != nil {
		o.reply.Fail(w, r, err, id)
		return
	}
	exchange.JSON(w, http.StatusCreated, wire.Snapshot(snapshot))
}

func (o *operations) snapshot(w http.ResponseWriter, r *http.Request, id string, key *string) (sandbox.Snapshot, error) {
	var body openapi.NewSnapshot
	id, err := o.about(w, r, id, &body, true)
	if err != nil {
		return sandbox.Snapshot{}, err
	}
	if isFalse(body.Memory) {
		return sandbox.Snapshot{}, refusal.NoFilesystemSnapshot.With()
	}
	name := ""
	if body.Name != "" {
		if name, err = wire.ParseName(body.Name); err != nil {
			return sandbox.Snapshot{}, err
		}
		if err := o.catalogue.NotATemplate(r.Context(), name); err != nil {
			return sandbox.Snapshot{}, err
		}
	}
	return idempotency.Once(r.Context(), o.answers, exchange.KeyID(r.Context()), key, "snapshot "+id, name, func() (sandbox.Snapshot, error) {
		return o.runtime.Snapshot(r.Context(), id, name, exchange.KeyID(r.Context()))
	})
}

// ListSnapshots serves GET /snapshots.
func (o *operations) ListSnapshots(w http.ResponseWriter, r *http.Request, p openapi.ListSnapshotsParams) {
	f, err := wire.SnapshotFilter(p)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	limit := f.Limit
	// One more shows whether there is a next page.
	f.Limit++
	snapshots, err := o.runtime.Snapshots(r.Context(), f)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	if len(snapshots) > limit {
		snapshots = snapshots[:limit]
		last := snapshots[limit-1]
		w.Header().Set(exchange.HeaderNextToken, wire.FormatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false))
	}
	exchange.JSON(w, http.StatusOK, wire.Snapshots(snapshots))
}

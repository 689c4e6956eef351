package e2b

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/idempotency"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// namePattern is [namespace/]name[:tag].
var namePattern = regexp.MustCompile(`^([a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9_-]*(:[a-z0-9_.-]+)?$`)

// maxName is the longest name as it is kept: an id made of it has a tag besides.
const maxName = 128

// bareName is a name as it is kept: in lower case, and without the tag that
// every name has.
func bareName(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ":"+defaultTag)
}

// defaultTag is the tag of a name without one.
const defaultTag = "default"

// template is the name without its tag, which all its tags share.
func template(name string) string {
	bare, _, _ := strings.Cut(name, ":")
	return bare
}

// parseName checks the name or id of a snapshot.
func parseName(name string) (string, error) {
	bare := bareName(name)
	if len(bare) > maxName || !namePattern.MatchString(strings.ToLower(name)) {
		return "", badRequest("a snapshot name is [namespace/]name[:tag] of letters, digits, hyphens and underscores, at most %d; got %.64q", maxName, name)
	}
	return bare, nil
}

// CreateSnapshot serves POST /sandboxes/{sandboxID}/snapshots.
func (o *operations) CreateSnapshot(w http.ResponseWriter, r *http.Request, id string, p openapi.CreateSnapshotParams) {
	snapshot, err := o.snapshot(w, r, id, p.IdempotencyKey)
	if err != nil {
		o.reply.fail(w, r, err, id)
		return
	}
	writeJSON(w, http.StatusCreated, wireSnapshot(snapshot))
}

func (o *operations) snapshot(w http.ResponseWriter, r *http.Request, id string, key *string) (sandbox.Snapshot, error) {
	var body openapi.NewSnapshot
	id, err := o.bodies.about(w, r, id, &body, true)
	if err != nil {
		return sandbox.Snapshot{}, err
	}
	if isFalse(body.Memory) {
		return sandbox.Snapshot{}, refusal.NoFilesystemSnapshot.With()
	}
	name := ""
	if body.Name != "" {
		if name, err = parseName(body.Name); err != nil {
			return sandbox.Snapshot{}, err
		}
		if err := o.catalogue.notATemplate(r.Context(), name); err != nil {
			return sandbox.Snapshot{}, err
		}
	}
	return idempotency.Once(r.Context(), o.answers, keyID(r.Context()), key, "snapshot "+id, name, func() (sandbox.Snapshot, error) {
		return o.adapter.Snapshot(r.Context(), id, name, keyID(r.Context()))
	})
}

// ListSnapshots serves GET /snapshots.
func (o *operations) ListSnapshots(w http.ResponseWriter, r *http.Request, p openapi.ListSnapshotsParams) {
	f, err := snapshotFilter(p)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	limit := f.Limit
	// One more shows whether there is a next page.
	f.Limit++
	snapshots, err := o.adapter.Snapshots(r.Context(), f)
	if err != nil {
		o.reply.fail(w, r, err, "")
		return
	}
	if len(snapshots) > limit {
		snapshots = snapshots[:limit]
		last := snapshots[limit-1]
		w.Header().Set(headerNextToken, formatCursor(sandbox.Cursor{StartedAt: last.CreatedAt, ID: last.ID}, false))
	}
	wire := make([]openapi.Snapshot, 0, len(snapshots))
	for _, snapshot := range snapshots {
		wire = append(wire, wireSnapshot(snapshot))
	}
	writeJSON(w, http.StatusOK, wire)
}

func snapshotFilter(p openapi.ListSnapshotsParams) (f sandbox.SnapshotFilter, err error) {
	if p.SandboxID != nil && *p.SandboxID != "" {
		if f.SandboxID, err = parseID(*p.SandboxID); err != nil {
			return f, err
		}
	}
	if p.Name != nil && *p.Name != "" {
		if f.Name, err = parseName(*p.Name); err != nil {
			return f, err
		}
		f.AllTags = !strings.Contains(*p.Name, ":")
	}
	if f.Limit, err = parseLimit(p.Limit); err != nil {
		return f, err
	}
	f.After, err = parseCursor(p.NextToken, false)
	return f, err
}

func wireSnapshot(s sandbox.Snapshot) openapi.Snapshot {
	// Lists must be lists: null breaks clients.
	id, names := s.ID, []string{}
	if s.Name != "" {
		id, names = s.Name, append(names, template(s.Name))
	}
	if !strings.Contains(id, ":") {
		id += ":" + defaultTag
	}
	return openapi.Snapshot{SnapshotID: id, Names: names}
}

// DeleteTemplate serves DELETE /templates/{templateID}, which is how snapshots
// are deleted.
func (o *operations) DeleteTemplate(w http.ResponseWriter, r *http.Request, name string) {
	o.reply.done(w, r, o.catalogue.deleteSnapshot(r.Context(), name), name)
}

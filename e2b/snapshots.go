package e2b

import (
	"context"
	"errors"
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
func (s *Server) CreateSnapshot(w http.ResponseWriter, r *http.Request, id string, p openapi.CreateSnapshotParams) {
	snapshot, err := s.snapshot(w, r, id, p.IdempotencyKey)
	if err != nil {
		s.fail(w, r, err, id)
		return
	}
	writeJSON(w, http.StatusCreated, wireSnapshot(snapshot))
}

func (s *Server) snapshot(w http.ResponseWriter, r *http.Request, id string, key *string) (sandbox.Snapshot, error) {
	id, err := parseID(id)
	if err != nil {
		return sandbox.Snapshot{}, err
	}
	var body openapi.NewSnapshot
	if err := s.decode(w, r, &body, true); err != nil {
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
		if err := s.notATemplate(r.Context(), name); err != nil {
			return sandbox.Snapshot{}, err
		}
	}
	return idempotency.Once(r.Context(), s.answers, keyID(r.Context()), key, "snapshot "+id, name, func() (sandbox.Snapshot, error) {
		return s.adapter.Snapshot(r.Context(), id, name, keyID(r.Context()))
	})
}

// notATemplate refuses the name of a template for a snapshot: a create would
// take the template.
func (s *Server) notATemplate(ctx context.Context, name string) error {
	_, err := s.adapter.Template(ctx, template(name))
	switch {
	case err == nil:
		return badRequest("%q is the name of a template", template(name))
	case errors.Is(err, sandbox.ErrTemplateNotFound):
		return nil
	}
	return err
}

// ListSnapshots serves GET /snapshots.
func (s *Server) ListSnapshots(w http.ResponseWriter, r *http.Request, p openapi.ListSnapshotsParams) {
	f, err := snapshotFilter(p)
	if err != nil {
		s.fail(w, r, err, "")
		return
	}
	limit := f.Limit
	// One more shows whether there is a next page.
	f.Limit++
	snapshots, err := s.adapter.Snapshots(r.Context(), f)
	if err != nil {
		s.fail(w, r, err, "")
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
func (s *Server) DeleteTemplate(w http.ResponseWriter, r *http.Request, name string) {
	s.done(w, r, s.deleteSnapshot(r, name), name)
}

func (s *Server) deleteSnapshot(r *http.Request, name string) error {
	bare, err := parseName(name)
	if err != nil {
		return err
	}
	err = s.adapter.DeleteSnapshot(r.Context(), bare)
	if !errors.Is(err, sandbox.ErrSnapshotNotFound) {
		return err
	}
	if _, templateErr := s.adapter.Template(r.Context(), bare); templateErr == nil {
		return unsupported("deleting a template")
	}
	return err
}

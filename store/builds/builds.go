// Package builds is the tables of the templates that clients build: the templates, their builds, and the tags of these.
// It may import sandbox and the internal packages of store.
package builds

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Tables are those of one database.
type Tables struct{ db *database.DB }

// In returns the tables of a database.
func In(db *database.DB) Tables { return Tables{db} }

// Template is a template that clients build.
type Template struct {
	ID        string
	Name      string // unique
	Public    bool
	KeyID     string // who began its first build
	CreatedAt time.Time
}

// Build is a build of a template.
type Build struct {
	ID         string
	TemplateID string
	State      sandbox.BuildState
	Tags       []string // asked for
	// Step and Message say why it failed.
	Step, Message             string
	VCPUs, MemoryMiB, DiskMiB int
	// SnapshotID is the claim that sandboxes are made from, of a build that is ready.
	SnapshotID            string
	KeyID                 string
	CreatedAt, FinishedAt time.Time
	// LogID is that of its log; empty: it has none yet.
	LogID string
	// Version is that of the row which this was read from; 0: it is not written yet.
	Version int64
}

const buildColumns = `id, template_id, state, tags, step, message, vcpus, memory_mib, disk_mib, snapshot_id, key_id,
	created_at, finished_at, log_id, version`

var addBuild, changeBuild = table.InsertAndUpdate("builds", buildColumns)

// Begin inserts a build, and the template of that name unless it is there; t becomes what is stored. *BoundError: there are too many.
func (s Tables) Begin(ctx context.Context, t *Template, b *Build, most Bounds) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		if err := most.room(ctx, tx, t.Name, b.KeyID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO built_templates (id, name, public, key_id, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			t.ID, t.Name, t.Public, t.KeyID, table.Micros(t.CreatedAt))
		if err != nil {
			return err
		}
		var created int64
		row := tx.QueryRowContext(ctx, `SELECT id, public, key_id, created_at FROM built_templates WHERE name = ?`, t.Name)
		if err := row.Scan(&t.ID, &t.Public, &t.KeyID, &created); err != nil {
			return err
		}
		t.CreatedAt, b.TemplateID = table.FromMicros(created), t.ID
		return b.put(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("begin a build of template %s: %w", t.Name, err)
	}
	b.Version++
	return nil
}

// Put changes a build, if it still has the Version that b was read with; table.ErrStale as everywhere.
func (s Tables) Put(ctx context.Context, b *Build) error { return s.finish(ctx, b, nil) }

// Ready is Put of a build that is ready, whose tags name it from the same moment on.
func (s Tables) Ready(ctx context.Context, b *Build) error {
	return s.finish(ctx, b, func(tx *sql.Tx) error { return tag(ctx, tx, b.TemplateID, b.ID, b.Tags) })
}

func (s Tables) finish(ctx context.Context, b *Build, more func(*sql.Tx) error) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		if err := b.put(ctx, tx); err != nil || more == nil {
			return err
		}
		return more(tx)
	})
	if err != nil {
		return fmt.Errorf("put build %s at version %d: %w", b.ID, b.Version, err)
	}
	b.Version++
	return nil
}

func (b Build) put(ctx context.Context, tx *sql.Tx) error {
	query := changeBuild
	if b.Version == 0 {
		query = addBuild
	}
	tags, err := json.Marshal(b.Tags)
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, query, b.ID, b.TemplateID, b.State, string(tags), b.Step, b.Message, b.VCPUs, b.MemoryMiB, b.DiskMiB,
		b.SnapshotID, b.KeyID, table.Micros(b.CreatedAt), table.Micros(b.FinishedAt), b.LogID, b.Version)
	return table.Changed(res, err)
}

// PutLog keeps a log, which goes with the last build that has it. It is on the disk with the next change that is.
func (s Tables) PutLog(ctx context.Context, id string, lines []sandbox.BuildLog) error {
	text, err := json.Marshal(lines)
	if err == nil {
		_, err = s.db.ExecLazily(ctx, `INSERT INTO build_logs (id, lines) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET lines = excluded.lines`, id, string(text))
	}
	if err != nil {
		return fmt.Errorf("put the log of build %s: %w", id, err)
	}
	return nil
}

// Log returns a log; nil if there is none.
func (s Tables) Log(ctx context.Context, id string) (lines []sandbox.BuildLog, err error) {
	var text string
	err = s.db.Scan(ctx, []any{&text}, `SELECT lines FROM build_logs WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &lines)
	}
	if err != nil {
		return nil, fmt.Errorf("log of build %s: %w", id, err)
	}
	return lines, nil
}

// tag makes tags of a template name a build that is ready and has its claim; table.ErrNotFound. The claim of a build with a tag is
// not dropped, so a tag is never without one.
func tag(ctx context.Context, tx *sql.Tx, templateID, buildID string, tags []string) error {
	var whole bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM builds JOIN snapshots ON snapshots.id = snapshot_id
		WHERE builds.id = ? AND builds.template_id = ? AND builds.state = ? AND snapshots.state = 'ready')`, buildID, templateID, sandbox.BuildReady).Scan(&whole)
	if err == nil && !whole {
		err = table.ErrNotFound
	}
	if err != nil {
		return err
	}
	for _, name := range tags {
		_, err := tx.ExecContext(ctx, `INSERT INTO build_tags (template_id, tag, build_id, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (template_id, tag) DO UPDATE SET build_id = excluded.build_id, created_at = excluded.created_at`,
			templateID, name, buildID, table.Micros(time.Now()))
		if err != nil {
			return err
		}
	}
	return nil
}

// Tag makes tags of a template name one of its builds; table.ErrNotFound if it is not there or not ready, or its claim is gone.
func (s Tables) Tag(ctx context.Context, templateID, buildID string, tags []string) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return tag(ctx, tx, templateID, buildID, tags) })
	if err != nil {
		return fmt.Errorf("tag build %s: %w", buildID, err)
	}
	return nil
}

// Untag removes tags; one that is not there is no error.
func (s Tables) Untag(ctx context.Context, templateID string, tags []string) error {
	_, err := s.db.Exec(ctx, `DELETE FROM build_tags WHERE template_id = ? AND tag IN (SELECT value FROM json_each(?))`, templateID, table.List(tags))
	if err != nil {
		return fmt.Errorf("untag template %s: %w", templateID, err)
	}
	return nil
}

// SetPublic notes whether a template is public; table.ErrNotFound.
func (s Tables) SetPublic(ctx context.Context, templateID string, public bool) error {
	res, err := s.db.Exec(ctx, `UPDATE built_templates SET public = ? WHERE id = ?`, public, templateID)
	if err = table.Changed(res, err); errors.Is(err, table.ErrStale) {
		err = table.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("change template %s: %w", templateID, err)
	}
	return nil
}

// Delete removes a template with its builds and tags. Their claims stay, without a build.
func (s Tables) Delete(ctx context.Context, templateID string) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{`DELETE FROM build_tags WHERE template_id = ?`, `DELETE FROM builds WHERE template_id = ?`, `DELETE FROM built_templates WHERE id = ?`} {
			if _, err := tx.ExecContext(ctx, query, templateID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete template %s: %w", templateID, err)
	}
	return nil
}

// Forget removes all but the newest builds of a template; those that are not over, and those that a tag names, stay.
func (s Tables) Forget(ctx context.Context, templateID string, keep int) error {
	_, err := s.db.ExecLazily(ctx, `DELETE FROM builds WHERE id IN (SELECT id FROM builds WHERE template_id = ?1
		AND state IN ('ready', 'error') AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build_id = builds.id)
		ORDER BY created_at DESC, id LIMIT -1 OFFSET ?2)`, templateID, keep)
	if err != nil {
		return fmt.Errorf("forget builds of template %s: %w", templateID, err)
	}
	return nil
}

// Template returns one by id or name, or table.ErrNotFound.
func (s Tables) Template(ctx context.Context, idOrName string) (Template, error) {
	return one(s.templates(ctx, `WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1`, idOrName))("template %.128q", idOrName)
}

// Templates returns all of them, by name.
func (s Tables) Templates(ctx context.Context) ([]Template, error) {
	return s.templates(ctx, `ORDER BY name`)
}

func (s Tables) templates(ctx context.Context, where string, args ...any) ([]Template, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "query built templates", func(rows *sql.Rows) (t Template, err error) {
		var created int64
		err = rows.Scan(&t.ID, &t.Name, &t.Public, &t.KeyID, &created)
		t.CreatedAt = table.FromMicros(created)
		return t, err
	}, `SELECT id, name, public, key_id, created_at FROM built_templates `+where, args...)
}

// Get returns a build, or table.ErrNotFound.
func (s Tables) Get(ctx context.Context, id string) (Build, error) {
	return one(s.read(ctx, `WHERE id = ?`, id))("build %.128q", id)
}

// Tagged returns the build that a tag of a template names, or table.ErrNotFound.
func (s Tables) Tagged(ctx context.Context, templateID, tag string) (Build, error) {
	return one(s.read(ctx, `WHERE id = (SELECT build_id FROM build_tags WHERE template_id = ? AND tag = ?)`, templateID, tag))("tag %.128q", tag)
}

// Of returns the builds of a template, the newest first.
func (s Tables) Of(ctx context.Context, templateID string) ([]Build, error) {
	return s.read(ctx, `WHERE template_id = ? ORDER BY created_at DESC, id`, templateID)
}

// Unfinished returns the builds that are neither ready nor failed.
func (s Tables) Unfinished(ctx context.Context) ([]Build, error) {
	return s.read(ctx, `WHERE state IN ('waiting', 'building')`)
}

// Tags returns the tags of a template, by name.
func (s Tables) Tags(ctx context.Context, templateID string) ([]sandbox.TemplateTag, error) {
	return database.List(ctx, s.db, "list tags", func(rows *sql.Rows) (t sandbox.TemplateTag, err error) {
		var created int64
		err = rows.Scan(&t.Tag, &t.BuildID, &created)
		t.CreatedAt = table.FromMicros(created)
		return t, err
	}, `SELECT tag, build_id, created_at FROM build_tags WHERE template_id = ? ORDER BY tag`, templateID)
}

// tagged selects the claims of the builds that have a tag.
const tagged = `SELECT snapshot_id FROM builds JOIN build_tags ON build_id = id`

// Unneeded returns the claims of kind template that are ready and that no tagged build has.
func (s Tables) Unneeded(ctx context.Context) ([]string, error) {
	return s.ids(ctx, "list claims without a build", `SELECT id FROM snapshots WHERE kind = 'template' AND state = 'ready' AND id NOT IN (`+tagged+`)`)
}

// Abandoned returns the claims of kind template that no build has or will have: those of Unneeded whose build has ended, or is gone.
func (s Tables) Abandoned(ctx context.Context) ([]string, error) {
	return s.ids(ctx, "list claims without a build", `SELECT id FROM snapshots WHERE kind = 'template' AND state = 'ready' AND id NOT IN (`+tagged+`)
		AND NOT EXISTS (SELECT 1 FROM builds WHERE builds.id = snapshots.build_id AND builds.state IN ('waiting', 'building'))`)
}

// Needs reports whether a build with a tag has a claim.
func (s Tables) Needs(ctx context.Context, claim string) (needs bool, err error) {
	if err := s.db.Scan(ctx, []any{&needs}, `SELECT EXISTS (`+tagged+` WHERE snapshot_id = ?)`, claim); err != nil {
		return false, fmt.Errorf("look for the builds of snapshot %s: %w", claim, err)
	}
	return needs, nil
}

// UseLayer notes that a claim of kind layer was used, as its created_at: the newest layers are those that were used last. It is on the
// disk with the next change that is.
func (s Tables) UseLayer(ctx context.Context, claim string, now time.Time) error {
	if _, err := s.db.ExecLazily(ctx, `UPDATE snapshots SET created_at = ? WHERE id = ? AND kind = 'layer'`, table.Micros(now), claim); err != nil {
		return fmt.Errorf("note the use of layer %s: %w", claim, err)
	}
	return nil
}

func (s Tables) ids(ctx context.Context, what, query string) ([]string, error) {
	return database.List(ctx, s.db, what, func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }, query)
}

func (s Tables) read(ctx context.Context, where string, args ...any) ([]Build, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "query builds", func(rows *sql.Rows) (b Build, err error) {
		var tags string
		var created, finished int64
		err = rows.Scan(&b.ID, &b.TemplateID, &b.State, &tags, &b.Step, &b.Message, &b.VCPUs, &b.MemoryMiB, &b.DiskMiB,
			&b.SnapshotID, &b.KeyID, &created, &finished, &b.LogID, &b.Version)
		b.CreatedAt, b.FinishedAt = table.FromMicros(created), table.FromMicros(finished)
		if err == nil {
			err = json.Unmarshal([]byte(tags), &b.Tags)
		}
		return b, err
	}, `SELECT `+buildColumns+` FROM builds `+where, args...)
}

// one is the only row of a query, or table.ErrNotFound about what.
func one[T any](rows []T, err error) func(what string, args ...any) (T, error) {
	return func(what string, args ...any) (none T, _ error) {
		switch {
		case err != nil:
			return none, err
		case len(rows) == 0:
			return none, fmt.Errorf(what+": %w", append(args, table.ErrNotFound)...)
		}
		return rows[0], nil
	}
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Templates is the table of prepared templates, one for each alias.
type Templates struct{ db *database.DB }

// Template is a prepared template: a snapshot that create restores.
type Template struct {
	ID      string
	Alias   string
	BuildID string
	// VMID and Snapshot name the driver's snapshot.
	VMID     string
	Snapshot string
	// Stamp identifies the sources and tools of the snapshot; a build with another stamp
	// has to be redone.
	Stamp string
	// Spec is the driver's spec that the snapshot was made with, as JSON: a
	// restore has to name the same mounts and arguments.
	Spec      []byte
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
	CreatedAt time.Time
	// Manifest describes the snapshot's files, as JSON.
	Manifest string
	// Version is that of the row which this was read from; 0: it is not written yet.
	// Templates.Put sets it.
	Version int64
}

const templateColumns = `id, alias, build_id, vm_id, snapshot, stamp, spec, vcpus, memory_mib, disk_mib, created_at, manifest, version`

var addTemplate, changeTemplate = table.InsertAndUpdate("templates", templateColumns)

// Put inserts the template, if its Version is 0, or changes it, if it still
// has the Version that t was read with, and sets t.Version to the new one. Its
// former snapshot is garbage then. ErrStale: it has another, or is gone, or
// another template has the alias, and nothing was changed.
func (s Templates) Put(ctx context.Context, t *Template) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO garbage (vm_id, snapshot, since)
			SELECT vm_id, snapshot, ?1 FROM templates WHERE id = ?2 AND (vm_id <> ?3 OR snapshot <> ?4)`,
			table.Micros(time.Now()), t.ID, t.VMID, t.Snapshot)
		if err != nil {
			return err
		}
		query := changeTemplate
		if t.Version == 0 {
			query = addTemplate
		}
		res, err := tx.ExecContext(ctx, query,
			t.ID, t.Alias, t.BuildID, t.VMID, t.Snapshot, t.Stamp, string(t.Spec), t.VCPUs, t.MemoryMiB, t.DiskMiB, table.Micros(t.CreatedAt),
			t.Manifest, t.Version)
		return table.Changed(res, err)
	})
	if err != nil {
		return fmt.Errorf("put template %s at version %d: %w", t.ID, t.Version, err)
	}
	t.Version++
	return nil
}

// All returns all templates by alias.
func (s Templates) All(ctx context.Context) ([]Template, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "list templates", func(rows *sql.Rows) (t Template, err error) {
		var created int64
		err = rows.Scan(&t.ID, &t.Alias, &t.BuildID, &t.VMID, &t.Snapshot, &t.Stamp, &t.Spec,
			&t.VCPUs, &t.MemoryMiB, &t.DiskMiB, &created, &t.Manifest, &t.Version)
		t.CreatedAt = table.FromMicros(created)
		return t, err
	}, `SELECT `+templateColumns+` FROM templates ORDER BY alias`)
}

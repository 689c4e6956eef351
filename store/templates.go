package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

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
}

const templateColumns = `id, alias, build_id, vm_id, snapshot, stamp, spec, vcpus, memory_mib, disk_mib, created_at, manifest`

var putTemplate = upsert("templates", "id", templateColumns)

// PutTemplate inserts the template or changes the one with the same id; another
// one of the same alias is removed. Their former snapshots are garbage then.
func (s *Store) PutTemplate(ctx context.Context, t Template) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO garbage (vm_id, snapshot, since)
			SELECT vm_id, snapshot, ?1 FROM templates WHERE (id = ?2 OR alias = ?3) AND (vm_id <> ?4 OR snapshot <> ?5)`,
			micros(time.Now()), t.ID, t.Alias, t.VMID, t.Snapshot)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM templates WHERE alias = ? AND id <> ?`, t.Alias, t.ID); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, putTemplate,
			t.ID, t.Alias, t.BuildID, t.VMID, t.Snapshot, t.Stamp, string(t.Spec), t.VCPUs, t.MemoryMiB, t.DiskMiB, micros(t.CreatedAt),
			t.Manifest)
		return err
	})
	if err != nil {
		return fmt.Errorf("put template %s: %w", t.ID, err)
	}
	return nil
}

// Templates returns all templates by alias.
func (s *Store) Templates(ctx context.Context) ([]Template, error) {
	rows, err := s.query(ctx, `SELECT `+templateColumns+` FROM templates ORDER BY alias`)
	if err != nil {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	defer rows.Close()
	var out []Template
	for rows.Next() {
		var t Template
		var created int64
		if err := rows.Scan(&t.ID, &t.Alias, &t.BuildID, &t.VMID, &t.Snapshot, &t.Stamp, &t.Spec,
			&t.VCPUs, &t.MemoryMiB, &t.DiskMiB, &created, &t.Manifest); err != nil {
			return nil, fmt.Errorf("list templates: %w", err)
		}
		t.CreatedAt = fromMicros(created)
		out = append(out, t)
	}
	return out, rows.Err()
}

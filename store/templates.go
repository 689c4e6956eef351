package store

import (
	"context"
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
	// Stamp identifies what the snapshot was made from and with; a build with
	// another stamp has to be made anew.
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

// PutTemplate inserts the template or replaces the one with the same id.
func (s *Store) PutTemplate(ctx context.Context, t Template) error {
	_, err := s.exec(ctx, `INSERT OR REPLACE INTO templates
		(id, alias, build_id, vm_id, snapshot, stamp, spec, vcpus, memory_mib, disk_mib, created_at, manifest)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`,
		t.ID, t.Alias, t.BuildID, t.VMID, t.Snapshot, t.Stamp, string(t.Spec), t.VCPUs, t.MemoryMiB, t.DiskMiB, micros(t.CreatedAt),
		t.Manifest)
	if err != nil {
		return fmt.Errorf("put template %s: %w", t.ID, err)
	}
	return nil
}

// Templates returns all templates by alias.
func (s *Store) Templates(ctx context.Context) ([]Template, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, alias, build_id, vm_id, snapshot, stamp, spec, vcpus, memory_mib,
		disk_mib, created_at, manifest FROM templates ORDER BY alias`)
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

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// The kinds of orphan.
const (
	OrphanSnapshot = "snapshot"
	OrphanMachine  = "machine"
)

// Orphan is an object of the driver without a row that was set aside.
type Orphan struct {
	Kind string
	// Name identifies it for an operator: the date, and the names of machine and snapshot.
	Name string
	// VMID names the machine, or with Snapshot a snapshot of the driver.
	VMID     string
	Snapshot string
	Since    time.Time
	// Discard: an operator gave it up.
	Discard bool
}

// Orphans is the table of orphans.
type Orphans struct{ db *database.DB }

// SetAside records an orphan, and returns it as it was recorded first.
func (s Orphans) SetAside(ctx context.Context, kind, vmID, snapshot string, now time.Time) (Orphan, error) {
	name := now.UTC().Format("20060102") + "-" + vmID
	if snapshot != "" {
		name += "-" + snapshot
	}
	_, err := s.db.Exec(ctx, `INSERT INTO orphans (kind, vm_id, snapshot, name, since) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING`,
		kind, vmID, snapshot, name, table.Micros(now))
	if err != nil {
		return Orphan{}, fmt.Errorf("set %s aside: %w", name, err)
	}
	rows, err := s.read(ctx, `WHERE kind = ? AND vm_id = ? AND snapshot = ?`, kind, vmID, snapshot)
	if err != nil || len(rows) == 0 {
		return Orphan{}, fmt.Errorf("set %s aside: %w", name, cmp.Or(err, ErrNotFound))
	}
	return rows[0], nil
}

// All returns the orphans, the oldest first.
func (s Orphans) All(ctx context.Context) ([]Orphan, error) {
	return s.read(ctx, `ORDER BY since, name`)
}

func (s Orphans) read(ctx context.Context, where string, args ...any) ([]Orphan, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "list orphans", func(rows *sql.Rows) (o Orphan, err error) {
		var since int64
		err = rows.Scan(&o.Kind, &o.Name, &o.VMID, &o.Snapshot, &since, &o.Discard)
		o.Since = table.FromMicros(since)
		return o, err
	}, `SELECT kind, name, vm_id, snapshot, since, discard FROM orphans `+where, args...)
}

// Discard gives an orphan up: the daemon deletes it when it looks next.
// ErrNotFound if nothing has the name.
func (s Orphans) Discard(ctx context.Context, name string) error {
	res, err := s.db.Exec(ctx, `UPDATE orphans SET discard = 1 WHERE name = ?`, name)
	if err != nil {
		return fmt.Errorf("discard %s: %w", name, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("orphan %q: %w", name, ErrNotFound)
	}
	return nil
}

// Forget removes the record of one that is gone, or has a row again.
func (s Orphans) Forget(ctx context.Context, o Orphan) error {
	_, err := s.db.ExecLazily(ctx, `DELETE FROM orphans WHERE kind = ? AND vm_id = ? AND snapshot = ?`, o.Kind, o.VMID, o.Snapshot)
	if err != nil {
		return fmt.Errorf("forget orphan %s: %w", o.Name, err)
	}
	return nil
}

// Count counts the orphans, by kind.
func (s Orphans) Count(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := s.db.Each(ctx, "count orphans", func(rows *sql.Rows) error {
		var kind string
		var n int
		err := rows.Scan(&kind, &n)
		counts[kind] = n
		return err
	}, `SELECT kind, count(*) FROM orphans GROUP BY kind`)
	return counts, err
}

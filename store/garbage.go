package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Garbage is the record of the driver's snapshots that are garbage unless a row claims
// them: those of saves and deletions that may be broken off. Mark and Forget are not
// synced: what a power cut takes from the record is set aside, and not deleted.
type Garbage struct{ db *database.DB }

// Mark says, before it is made, that a snapshot of the driver is garbage
// unless a row claims it.
func (s Garbage) Mark(ctx context.Context, vmID, snapshot string) error {
	if err := s.db.WriteAs(ctx, true, func(tx *sql.Tx) error { return markGarbage(ctx, tx, vmID, snapshot) }); err != nil {
		return fmt.Errorf("mark snapshot %s of %s: %w", snapshot, vmID, err)
	}
	return nil
}

func markGarbage(ctx context.Context, tx *sql.Tx, vmID, snapshot string) error {
	_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO garbage (vm_id, snapshot, since) VALUES (?,?,?)`, vmID, snapshot, table.Micros(time.Now()))
	return err
}

// All returns the driver's snapshots that are known to be garbage if no row
// claims them, as VMID and snapshot.
func (s Garbage) All(ctx context.Context) (map[[2]string]bool, error) {
	known := map[[2]string]bool{}
	err := s.db.Each(ctx, "list garbage", func(rows *sql.Rows) error {
		var key [2]string
		err := rows.Scan(&key[0], &key[1])
		known[key] = true
		return err
	}, `SELECT vm_id, snapshot FROM garbage`)
	return known, err
}

// Forget removes the records from before t of objects that are not among
// present: a deletion that old is on the disk, too.
func (s Garbage) Forget(ctx context.Context, t time.Time, present map[[2]string]bool) error {
	known, err := s.All(ctx)
	if err != nil {
		return err
	}
	return s.db.WriteAs(ctx, true, func(tx *sql.Tx) error {
		for key := range known {
			if present[key] {
				continue
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM garbage WHERE vm_id = ? AND snapshot = ? AND since < ?`, key[0], key[1], table.Micros(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

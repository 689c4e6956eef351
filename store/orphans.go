package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"github.com/rundlet/rundlet/sandbox"
	"time"
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

// SetAside records an orphan, and returns it as it was recorded first.
func (s *Store) SetAside(ctx context.Context, kind, vmID, snapshot string, now time.Time) (Orphan, error) {
	name := now.UTC().Format("20060102") + "-" + vmID
	if snapshot != "" {
		name += "-" + snapshot
	}
	_, err := s.exec(ctx, `INSERT INTO orphans (kind, vm_id, snapshot, name, since) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING`,
		kind, vmID, snapshot, name, micros(now))
	if err != nil {
		return Orphan{}, fmt.Errorf("set %s aside: %w", name, err)
	}
	rows, err := s.orphans(ctx, `WHERE kind = ? AND vm_id = ? AND snapshot = ?`, kind, vmID, snapshot)
	if err != nil || len(rows) == 0 {
		return Orphan{}, fmt.Errorf("set %s aside: %w", name, errOr(err, ErrNotFound))
	}
	return rows[0], nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// Orphans returns the orphans, the oldest first.
func (s *Store) Orphans(ctx context.Context) ([]Orphan, error) {
	return s.orphans(ctx, `ORDER BY since, name`)
}

func (s *Store) orphans(ctx context.Context, where string, args ...any) ([]Orphan, error) {
	if err := s.current(); err != nil {
		return nil, err
	}
	rows, err := s.query(ctx, `SELECT kind, name, vm_id, snapshot, since, discard FROM orphans `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list orphans: %w", err)
	}
	defer rows.Close()
	var out []Orphan
	for rows.Next() {
		var o Orphan
		var since int64
		if err := rows.Scan(&o.Kind, &o.Name, &o.VMID, &o.Snapshot, &since, &o.Discard); err != nil {
			return nil, fmt.Errorf("list orphans: %w", err)
		}
		o.Since = fromMicros(since)
		out = append(out, o)
	}
	return out, rows.Err()
}

// DiscardOrphan gives an orphan up: the daemon deletes it when it looks next.
// ErrNotFound if nothing has the name.
func (s *Store) DiscardOrphan(ctx context.Context, name string) error {
	res, err := s.exec(ctx, `UPDATE orphans SET discard = 1 WHERE name = ?`, name)
	if err != nil {
		return fmt.Errorf("discard %s: %w", name, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("orphan %q: %w", name, ErrNotFound)
	}
	return nil
}

// ForgetOrphan removes the record of one that is gone, or has a row again.
func (s *Store) ForgetOrphan(ctx context.Context, o Orphan) error {
	_, err := s.execLazily(ctx, `DELETE FROM orphans WHERE kind = ? AND vm_id = ? AND snapshot = ?`, o.Kind, o.VMID, o.Snapshot)
	if err != nil {
		return fmt.Errorf("forget orphan %s: %w", o.Name, err)
	}
	return nil
}

// MarkGarbage says, before it is made, that a snapshot of the driver is garbage
// unless a row claims it.
func (s *Store) MarkGarbage(ctx context.Context, vmID, snapshot string) error {
	if err := s.writeAs(ctx, true, func(tx *sql.Tx) error { return markGarbage(ctx, tx, vmID, snapshot) }); err != nil {
		return fmt.Errorf("mark snapshot %s of %s: %w", snapshot, vmID, err)
	}
	return nil
}

func markGarbage(ctx context.Context, tx *sql.Tx, vmID, snapshot string) error {
	_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO garbage (vm_id, snapshot, since) VALUES (?,?,?)`, vmID, snapshot, micros(time.Now()))
	return err
}

// Garbage returns the driver's snapshots that are known to be garbage if no row
// claims them, as VMID and snapshot.
func (s *Store) Garbage(ctx context.Context) (map[[2]string]bool, error) {
	rows, err := s.query(ctx, `SELECT vm_id, snapshot FROM garbage`)
	if err != nil {
		return nil, fmt.Errorf("list garbage: %w", err)
	}
	defer rows.Close()
	out := map[[2]string]bool{}
	for rows.Next() {
		var key [2]string
		if err := rows.Scan(&key[0], &key[1]); err != nil {
			return nil, fmt.Errorf("list garbage: %w", err)
		}
		out[key] = true
	}
	return out, rows.Err()
}

// ForgetGarbage removes the records from before t of objects that are not among
// present: a deletion that old is on the disk, too.
func (s *Store) ForgetGarbage(ctx context.Context, t time.Time, present map[[2]string]bool) error {
	known, err := s.Garbage(ctx)
	if err != nil {
		return err
	}
	return s.writeAs(ctx, true, func(tx *sql.Tx) error {
		for key := range known {
			if present[key] {
				continue
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM garbage WHERE vm_id = ? AND snapshot = ? AND since < ?`, key[0], key[1], micros(t)); err != nil {
				return err
			}
		}
		return nil
	})
}

// CountOrphans counts the orphans, by kind.
func (s *Store) CountOrphans(ctx context.Context) (map[string]int, error) {
	rows, err := s.query(ctx, `SELECT kind, count(*) FROM orphans GROUP BY kind`)
	if err != nil {
		return nil, fmt.Errorf("count orphans: %w", err)
	}
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var kind string
		var n int
		if err := rows.Scan(&kind, &n); err != nil {
			return nil, fmt.Errorf("count orphans: %w", err)
		}
		out[kind] = n
	}
	return out, rows.Err()
}

// needOperator selects the rows that Quarantined returns.
const needOperator = `state <> 'killed' AND (quarantined_at <> 0 OR state NOT IN (SELECT value FROM json_each(?)))`

// CountQuarantined counts the sandboxes that Quarantined returns.
func (s *Store) CountQuarantined(ctx context.Context, known []sandbox.State) (n int, err error) {
	if err := s.current(); err != nil {
		return 0, err
	}
	if err := s.scan(ctx, []any{&n}, `SELECT count(*) FROM sandboxes WHERE `+needOperator, list(known)); err != nil {
		return 0, fmt.Errorf("count quarantined sandboxes: %w", err)
	}
	return n, nil
}

// list is a list of texts as one argument of a query, for json_each.
func list[T ~string](texts []T) string {
	text, _ := json.Marshal(texts) // Texts encode.
	return string(text)
}

// Quarantined returns the rows that need an operator, of all instances: those
// that say so, and those in a state that is not among known.
func (s *Store) Quarantined(ctx context.Context, known []sandbox.State) ([]Sandbox, error) {
	return s.sandboxes(ctx, `WHERE `+needOperator+` ORDER BY id`, list(known))
}

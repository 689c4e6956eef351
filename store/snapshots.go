package store

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
	"github.com/rundlet/rundlet/store/journal"
)

// Snapshots is the table of claims on the driver's snapshots. A snapshot of the driver
// may have several claims; the table knows which one is the last.
type Snapshots struct{ db *database.DB }

// The states of a snapshot row.
const (
	SnapshotSaving = "saving" // asked for; the driver may or may not have it
	SnapshotReady  = "ready"
)

// Snapshot is a row of the snapshots table: a claim on a snapshot of the driver.
type Snapshot struct {
	ID       string
	Instance string // whose daemon is saving it, or whose sandbox holds it
	Kind     string
	State    string
	Name     string // unique unless empty
	// VMID and Snapshot name the driver's snapshot.
	VMID     string
	Snapshot string
	// Source is the sandbox that it was taken of; Parent the origin of that sandbox.
	Source     string
	Parent     string
	TemplateID string
	Alias      string
	BuildID    string
	Spec       string
	VCPUs      int
	MemoryMiB  int
	DiskMiB    int
	Reason     string
	Manifest   string
	Bytes      int64
	KeyID      string
	CreatedAt  time.Time
	// Node is the id of the node that has the files, and Driver the name of the
	// driver that made them.
	Node, Driver string
	// Defaults are those of the sandbox, or the template, that it is of.
	Defaults sandbox.Defaults
	// Freshness is that of the sandbox when it was saved.
	Freshness sandbox.Freshness
	// HolderToken is the control token of the agent in a snapshot of another node; empty: it is derived from Source.
	HolderToken string
	// Version is that of the row which this was read from; 0: it is not written yet.
	// Snapshots.Add and Snapshots.Put set it.
	Version int64
}

const snapshotColumns = `id, instance, kind, state, name, vm_id, snapshot, source, parent, template_id, alias, build_id,
	spec, vcpus, memory_mib, disk_mib, reason, manifest, bytes, key_id, created_at, node, driver, defaults, freshness, holder_token, version`

var addSnapshot, changeSnapshot = table.InsertAndUpdate("snapshots", snapshotColumns)

// Counted bounds the rows of some kinds, all and those of one key. A negative
// number means no bound.
type Counted struct {
	Kinds      []string
	Most       int
	MostOfAKey int
}

// BoundError means that there are as many rows as are allowed, and that the new one was
// not written.
type BoundError struct {
	Have int
	// OfKey is set if they are those of the key of the new one.
	OfKey bool
}

func (e *BoundError) Error() string {
	return fmt.Sprintf("there are %d snapshots, and no more are allowed", e.Have)
}

// Add is Put of a row that is not there yet, or fails with
// *BoundError and writes nothing.
func (s Snapshots) Add(ctx context.Context, n *Snapshot, c Counted) error {
	err := s.db.WriteAs(ctx, n.State == SnapshotSaving, func(tx *sql.Tx) error {
		if err := c.room(ctx, tx, n.KeyID); err != nil {
			return err
		}
		return n.put(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("add snapshot %s: %w", n.ID, err)
	}
	n.Version++
	return nil
}

// room reads the counts of the database, that of the key first.
func (c Counted) room(ctx context.Context, tx *sql.Tx, keyID string) error {
	for _, b := range []struct {
		most  int
		where string
		ofKey bool
	}{{c.MostOfAKey, ` AND key_id = ?2`, true}, {c.Most, ` AND ?2 = ?2`, false}} {
		if b.most < 0 {
			continue
		}
		var have int
		query := `SELECT coalesce(sum(n), 0) FROM snapshot_counts WHERE kind IN (SELECT value FROM json_each(?1))` + b.where
		if err := tx.QueryRowContext(ctx, query, table.List(c.Kinds), keyID).Scan(&have); err != nil {
			return err
		}
		if have >= b.most {
			return &BoundError{Have: have, OfKey: b.ofKey}
		}
	}
	return nil
}

// Put inserts the row, if its Version is 0, or changes it, if it still has
// the Version that n was read with, and sets n.Version to the new one. ErrStale: it
// has another, or is gone, and nothing was changed. A name that another row has
// moves here. A claim that is filled is on the disk when Put returns; of one that is
// not, a power cut leaves files at most, which are set aside. The events are written with
// it, or not at all.
func (s Snapshots) Put(ctx context.Context, n *Snapshot, events ...sandbox.Event) error {
	err := s.db.WriteAs(ctx, n.State == SnapshotSaving, func(tx *sql.Tx) error {
		if err := n.put(ctx, tx); err != nil {
			return err
		}
		return journal.Add(ctx, tx, events)
	})
	if err != nil {
		return fmt.Errorf("put snapshot %s at version %d: %w", n.ID, n.Version, err)
	}
	n.Version++
	return nil
}

func (n Snapshot) put(ctx context.Context, tx *sql.Tx) error {
	if n.Name != "" {
		if _, err := tx.ExecContext(ctx, `UPDATE snapshots SET name = '', version = version + 1 WHERE name = ? AND name <> '' AND id <> ?`, n.Name, n.ID); err != nil {
			return err
		}
	}
	query := changeSnapshot
	if n.Version == 0 {
		query = addSnapshot
	}
	res, err := tx.ExecContext(ctx, query,
		n.ID, n.Instance, n.Kind, n.State, n.Name, n.VMID, n.Snapshot, n.Source, n.Parent, n.TemplateID, n.Alias,
		n.BuildID, n.Spec, n.VCPUs, n.MemoryMiB, n.DiskMiB, n.Reason, n.Manifest, n.Bytes, n.KeyID,
		table.Micros(n.CreatedAt), n.Node, n.Driver, optional(n.Defaults), optional(n.Freshness), n.HolderToken, n.Version)
	if err = table.Changed(res, err); err == nil {
		err = countOne(ctx, tx, n.VMID, n.Snapshot)
	}
	return err
}

// countOne marks the oldest row of the same files as the one whose bytes count, if
// none is marked.
func countOne(ctx context.Context, tx *sql.Tx, vmID, snapshot string) error {
	_, err := tx.ExecContext(ctx, `UPDATE snapshots SET counts = 1 WHERE id = (
			SELECT id FROM snapshots WHERE vm_id = ?1 AND snapshot = ?2 ORDER BY created_at, id LIMIT 1)
		AND NOT EXISTS (SELECT 1 FROM snapshots WHERE vm_id = ?1 AND snapshot = ?2 AND counts = 1)`, vmID, snapshot)
	return err
}

// Get returns one row by id or name, or ErrNotFound.
func (s Snapshots) Get(ctx context.Context, idOrName string) (Snapshot, error) {
	rows, err := s.read(ctx, `WHERE id = ?1 OR (name = ?1 AND name <> '') ORDER BY id = ?1 DESC LIMIT 1`, idOrName)
	if err != nil {
		return Snapshot{}, err
	}
	if len(rows) == 0 {
		return Snapshot{}, fmt.Errorf("snapshot %.128q: %w", idOrName, ErrNotFound)
	}
	return rows[0], nil
}

// Unsealed returns the rows of an instance that are ready and have no manifest.
func (s Snapshots) Unsealed(ctx context.Context, instance string) ([]Snapshot, error) {
	return s.read(ctx, `WHERE instance = ? AND state = 'ready' AND manifest = ''`, instance)
}

// Claims returns all rows, in no order. Of each only the fields of a claim are set: ID,
// Instance, Kind, State, Name, VMID, Snapshot, Source, Node, Driver and Version.
func (s Snapshots) Claims(ctx context.Context) ([]Snapshot, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "list claims", func(rows *sql.Rows) (n Snapshot, err error) {
		err = rows.Scan(&n.ID, &n.Instance, &n.Kind, &n.State, &n.Name, &n.VMID, &n.Snapshot, &n.Source, &n.Node, &n.Driver, &n.Version)
		return n, err
	}, `SELECT id, instance, kind, state, name, vm_id, snapshot, source, node, driver, version FROM snapshots`)
}

// Drop removes a row that has a version and reports whether it was the last claim on the
// driver's snapshot, which is known to be garbage from now on. A row that is not
// there is no error and no claim; of one that has another version, or that a build with
// a tag has, it is ErrStale. It is on the disk when Drop returns.
func (s Snapshots) Drop(ctx context.Context, id string, version int64) (last bool, err error) {
	err = s.db.Write(ctx, func(tx *sql.Tx) error {
		var vmID, snapshot string
		err := tx.QueryRowContext(ctx, `DELETE FROM snapshots WHERE id = ?1 AND version = ?2 AND (kind <> 'template'
			OR NOT EXISTS (SELECT 1 FROM builds JOIN build_tags ON build_id = builds.id WHERE snapshot_id = ?1))
			RETURNING vm_id, snapshot`, id, version).Scan(&vmID, &snapshot)
		if err == sql.ErrNoRows {
			return staleIfThere(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM snapshots WHERE vm_id = ? AND snapshot = ?)`, vmID, snapshot).Scan(&last)
		if err != nil {
			return err
		}
		if !last {
			return countOne(ctx, tx, vmID, snapshot)
		}
		return markGarbage(ctx, tx, vmID, snapshot)
	})
	if err != nil {
		return false, fmt.Errorf("drop snapshot %s: %w", id, err)
	}
	return last, nil
}

// Release removes a row that has a version and says nothing of the driver's
// snapshot. It is not an error if the row does not exist; if it has another version the
// error is ErrStale.
func (s Snapshots) Release(ctx context.Context, id string, version int64) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		var vmID, snapshot string
		err := tx.QueryRowContext(ctx, `DELETE FROM snapshots WHERE id = ? AND version = ? RETURNING vm_id, snapshot`, id, version).Scan(&vmID, &snapshot)
		if errors.Is(err, sql.ErrNoRows) {
			return staleIfThere(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		return countOne(ctx, tx, vmID, snapshot)
	})
	if err != nil {
		return fmt.Errorf("release snapshot %s: %w", id, err)
	}
	return nil
}

// staleIfThere is ErrStale if there is a row of a snapshot.
func staleIfThere(ctx context.Context, tx *sql.Tx, id string) error {
	var there bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM snapshots WHERE id = ?)`, id).Scan(&there); err != nil {
		return err
	}
	if there {
		return ErrStale
	}
	return nil
}

func (s Snapshots) read(ctx context.Context, where string, args ...any) ([]Snapshot, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	return database.List(ctx, s.db, "query snapshots", func(rows *sql.Rows) (n Snapshot, err error) {
		var created int64
		var defaults, freshness string
		err = rows.Scan(&n.ID, &n.Instance, &n.Kind, &n.State, &n.Name, &n.VMID, &n.Snapshot, &n.Source, &n.Parent,
			&n.TemplateID, &n.Alias, &n.BuildID, &n.Spec, &n.VCPUs, &n.MemoryMiB, &n.DiskMiB, &n.Reason, &n.Manifest,
			&n.Bytes, &n.KeyID, &created, &n.Node, &n.Driver, &defaults, &freshness, &n.HolderToken, &n.Version)
		n.CreatedAt = table.FromMicros(created)
		if err == nil && defaults != "" {
			err = json.Unmarshal([]byte(defaults), &n.Defaults)
		}
		if err == nil && freshness != "" {
			err = json.Unmarshal([]byte(freshness), &n.Freshness)
		}
		return n, err
	}, `SELECT `+snapshotColumns+` FROM snapshots `+where, args...)
}

// Seal stores the manifest of a snapshot whose row has a version. ErrStale:
// it has another, or is gone. The manifest can be computed again.
func (s Snapshots) Seal(ctx context.Context, id string, version int64, manifest string) error {
	res, err := s.db.ExecLazily(ctx, `UPDATE snapshots SET manifest = ?, version = version + 1 WHERE id = ? AND version = ?`, manifest, id, version)
	if err := table.Changed(res, err); err != nil {
		return fmt.Errorf("seal snapshot %s at version %d: %w", id, version, err)
	}
	return nil
}

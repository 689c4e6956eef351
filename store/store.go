// Package store persists sandboxes, templates, snapshots, API keys and settings
// in one SQLite file. It holds rows and knows no policy: which state may follow
// which is the runtime's business. Each table is a part of a Store; the file under them
// is that of store/internal/database. It may import sandbox; runtime, node and cmd may
// import it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/store/builds"
	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
	"github.com/rundlet/rundlet/store/journal"
)

// ErrNotFound: no such row.
var ErrNotFound = table.ErrNotFound

// ErrStale: the row was changed by another writer since it was read, or is gone: see table.ErrStale.
var ErrStale = table.ErrStale

// Schema is the version of the database format that this program writes and reads.
const Schema = table.Schema

// Errors of the file.
var (
	// ErrNewer: the schema is that of a newer program, and ErrOlder that of an older one, which was not changed.
	ErrNewer, ErrOlder = table.ErrNewer, table.ErrOlder
	// ErrFull: the disk has no space for the change, which was not made.
	ErrFull = database.ErrFull
	// ErrDamaged: the file is not a database, or not all of one.
	ErrDamaged = database.ErrDamaged
)

// Store is an open database: a part for each table, and what concerns several of them.
// The parts share its connections and end with it. Safe for concurrent use.
//
// A change is on the disk when its call returns, but for the rows that a power cut makes
// untrue anyway: those of sandboxes that have a machine and nothing saved, whose machine
// ends with the power, and what can be computed again. Those survive a crash of the
// daemon, and reach the disk with the next change that is synced. The order of changes
// is kept.
type Store struct {
	db *database.DB

	Sandboxes    Sandboxes
	Snapshots    Snapshots
	Environments Environments
	Templates    Templates
	Builds       builds.Tables
	SpawnCounts  SpawnCounts
	Warm         Warm
	Orphans      Orphans
	Garbage      Garbage
	Keys         Keys
	Settings     Settings
	Events       journal.Table
}

func newStore(db *database.DB) *Store {
	return &Store{
		db:        db,
		Sandboxes: Sandboxes{db}, Snapshots: Snapshots{db}, Environments: Environments{db},
		Templates: Templates{db}, Builds: builds.In(db), SpawnCounts: SpawnCounts{db}, Warm: Warm{db},
		Orphans: Orphans{db}, Garbage: Garbage{db},
		Keys: Keys{db}, Settings: Settings{db}, Events: journal.In(db),
	}
}

// Close closes the database, with all of it in the one file.
func (s *Store) Close() error { return s.db.Close() }

// Checkpoint moves all writes from the log into the database file: after it, a copy
// of the file alone has all of them.
func (s *Store) Checkpoint(ctx context.Context) error { return s.db.Checkpoint(ctx) }

// Used reports whether a daemon has ever worked with this database.
func (s *Store) Used(ctx context.Context) (used bool, err error) {
	err = s.db.ScanAfterWrites(ctx, []any{&used}, `SELECT EXISTS (SELECT 1 FROM settings) OR EXISTS (SELECT 1 FROM sandboxes)
		OR EXISTS (SELECT 1 FROM snapshots) OR EXISTS (SELECT 1 FROM templates)`)
	if err != nil {
		return false, fmt.Errorf("inspect the database: %w", err)
	}
	return used, nil
}

// Specs returns the specs of the snapshots and of the sandboxes that are not
// killed, each once, of all instances. ErrOlder if the schema has none.
func (s *Store) Specs(ctx context.Context) ([]string, error) {
	if s.db.Version() < 2 {
		return nil, ErrOlder
	}
	return database.List(ctx, s.db, "list specs", func(rows *sql.Rows) (spec string, err error) {
		err = rows.Scan(&spec)
		return spec, err
	}, `SELECT spec FROM snapshots UNION SELECT spec FROM sandboxes WHERE state <> 'killed'`)
}

// FillOwner gives the rows of before schema 6 the node and the driver that they were
// written by: there was one of each.
func (s *Store) FillOwner(ctx context.Context, node, driver string) error {
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"sandboxes", "snapshots"} {
			_, err := tx.ExecContext(ctx, `UPDATE `+table+` SET node = ?, driver = ?, version = version + 1 WHERE node = ''`, node, driver) //nolint:gosec // The names are ours, from the list above.
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fill in the node of older rows: %w", err)
	}
	return nil
}

// OtherDriver returns the name of a driver, other than the given one, that has what is saved or runs; empty if there is none.
func (s *Store) OtherDriver(ctx context.Context, driver string) (other string, err error) {
	err = s.db.Scan(ctx, []any{&other}, `SELECT driver FROM snapshots WHERE driver NOT IN ('', ?)
		UNION SELECT driver FROM sandboxes WHERE state <> 'killed' AND driver NOT IN ('', ?) LIMIT 1`, driver, driver)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read which driver has sandboxes: %w", err)
	}
	return other, nil
}

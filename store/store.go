// Package store persists sandboxes, templates, snapshots, API keys and settings
// in one SQLite file. It holds rows and knows no policy: which state may follow
// which is the runtime's business. It may import nothing of Rundlet; runtime and
// cmd may import it.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"syscall"
	"time"

	"modernc.org/sqlite" // database/sql driver "sqlite"; pure Go, so no cgo
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrFull: the disk has no space for the change, which was not made.
	ErrFull = errors.New("disk is full")
	// ErrDamaged: the file is not a database, or not all of one.
	ErrDamaged = errors.New("the database is damaged")
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is safe for concurrent use.
type Store struct {
	db *sql.DB // the connection that writes
	// version is that of the schema when it was opened.
	version int64
	// lazy is whether the one connection writes without a sync; guarded by having
	// the connection.
	lazy    bool
	readers *sql.DB
}

// classify separates a full disk and a damaged file from other errors.
func classify(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // No room for the index of the log.
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Close closes the database, with all of it in the one file.
func (s *Store) Close() error {
	err := s.readers.Close()
	// Nothing is lost if it cannot be done: the log is beside the file.
	_ = s.Checkpoint(context.Background())
	return errors.Join(err, s.db.Close())
}

// Checkpoint moves all writes from the log into the database file: after it, a copy
// of the file alone has all of them.
func (s *Store) Checkpoint(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return fmt.Errorf("checkpoint the database: %w", classify(err))
	}
	return nil
}

// Setting returns the value stored under name; if there is none, it stores and
// returns the result of makes. Two processes that race get the same value.
func (s *Store) Setting(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	fresh, err := make()
	if err != nil {
		return nil, err
	}
	_, err = s.exec(ctx, `INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", name, err)
	}
	var value []byte
	err = s.db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = ?`, name).Scan(&value)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", name, err)
	}
	return value, nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

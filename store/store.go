// Package store is what the daemon remembers: sandboxes, templates, API keys
// and settings, in one SQLite file. It holds rows and knows no policy: which
// state may follow which is the runtime's business. It may import nothing of
// Rundlet; runtime and cmd may import it.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // database/sql driver "sqlite"; pure Go, so no cgo
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrFull: the disk has no room for the change, which was not made.
	ErrFull = errors.New("disk is full")
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is safe for concurrent use.
type Store struct {
	db      *sql.DB
	readers readers
}

// Open opens the database file, made with mode 0600 if it is not there, and
// brings its schema up to date. Several processes may have it open.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// SQLite gives its side files the mode of the main file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f.Close()
	// WAL with synchronous=NORMAL survives a crash of the daemon at any
	// instant; a power cut may lose the last rows but never damages the file,
	// and after one every sandbox is gone anyway.
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// One connection: SQLite has one writer, and every query here is short.
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return &Store{db: db}, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// exec runs a statement that changes rows.
func (s *Store) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	res, err := s.db.ExecContext(ctx, query, args...)
	return res, classify(err)
}

// write runs change in a transaction: all of it happens or nothing.
func (s *Store) write(ctx context.Context, change func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	if err := change(tx); err != nil {
		return classify(err)
	}
	return classify(tx.Commit())
}

// classify tells a full disk from other errors.
func classify(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Close closes the database.
func (s *Store) Close() error {
	s.readers.close()
	return s.db.Close()
}

// Setting returns the value stored under name; if there is none, it stores and
// returns what makes returns. Two processes that race get the same value.
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

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
)

// Open opens the database file, made with mode 0600 if it is not there, checks
// that it is whole, and brings its schema up to date. Several processes may have
// it open. ErrDamaged and ErrNewer: it is left as it is.
func Open(ctx context.Context, path string) (*Store, error) {
	return prepared(ctx, path, func(s *Store) error {
		if err := s.check(ctx, "quick_check(1)"); err != nil {
			return err
		}
		return s.migrate(ctx)
	})
}

// OpenAsItIs opens the database file without a change of its schema, since a
// daemon of another version may have it open; a file that is not there is made.
func OpenAsItIs(ctx context.Context, path string) (*Store, error) {
	return prepared(ctx, path, func(s *Store) error {
		if s.version == 0 {
			return s.migrate(ctx)
		}
		return nil
	})
}

// OpenReadOnly opens the database file and changes nothing: not the rows, not
// the schema. fs.ErrNotExist if there is none.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	return existing(ctx, path, "query_only(ON)")
}

func existing(ctx context.Context, path, pragma string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := newStore(path, pragma)
	if err := s.readVersion(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

// prepared makes the file durable before anything is written into it.
func prepared(ctx context.Context, path string, prepare func(*Store) error) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	// SQLite gives its side files the mode of the main file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	f.Close()
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := newStore(path, "journal_mode(WAL)")
	err = s.readVersion(ctx)
	if err == nil {
		err = prepare(s)
	}
	if err == nil {
		err = s.readVersion(ctx)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func newStore(path, pragma string) *Store {
	return &Store{db: connect(path, pragma), readers: connectReader(path)}
}

// close closes the readers first: the last connection to go tidies up.
func (s *Store) close() error { return errors.Join(s.readers.Close(), s.db.Close()) }

// connect returns the connection that writes. It begins with synchronous=FULL: a
// commit is on the disk when it returns. See durable.go.
func connect(path string, pragma string) *sql.DB {
	db := openAt(path, pragma, "synchronous(FULL)", "foreign_keys(ON)")
	db.SetMaxOpenConns(1) // SQLite has one writer.
	return db
}

// driverName is the driver of database/sql. A test puts itself before it.
var driverName = "sqlite"

func openAt(path string, pragmas ...string) *sql.DB {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...),
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open(driverName, dsn.String())
	if err != nil {
		panic(err) // The driver is not registered.
	}
	return db
}

func provider(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, dir)
}

func (s *Store) migrate(ctx context.Context) error {
	p, err := provider(s.db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return classify(err)
}

// readVersion refuses a database that a newer program wrote: a program that does not
// know a column cannot keep its contents true.
func (s *Store) readVersion(ctx context.Context) error {
	var tables int
	err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`).Scan(&tables)
	if err != nil || tables == 0 {
		return classify(err)
	}
	err = s.db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&s.version)
	if err != nil {
		return classify(err)
	}
	return checkNewer(s.version)
}

// check runs one of SQLite's checks of the whole file.
func (s *Store) check(ctx context.Context, pragma string) error {
	var verdict string
	if err := s.db.QueryRowContext(ctx, `PRAGMA `+pragma).Scan(&verdict); err != nil {
		return classify(err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %.300s", ErrDamaged, verdict)
	}
	return nil
}

// Used reports whether a daemon has ever worked with this database.
func (s *Store) Used(ctx context.Context) (used bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM settings) OR EXISTS (SELECT 1 FROM sandboxes)
		OR EXISTS (SELECT 1 FROM snapshots) OR EXISTS (SELECT 1 FROM templates)`).Scan(&used)
	if err != nil {
		return false, fmt.Errorf("inspect the database: %w", classify(err))
	}
	return used, nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error { return syncFile(dir) }

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

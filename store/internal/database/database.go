// Package database opens an SQLite file with one connection that writes, in the order
// of the calls, and several that only read. Each write says whether it is on the disk
// when it returns. The package also checks, migrates, copies and replaces the file. It
// knows no table but the one in which goose keeps the version. It imports nothing of
// Rundlet; only package store may import it.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite" // database/sql driver "sqlite"; pure Go, so no cgo
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrFull: the disk has no space for the change, which was not made.
	ErrFull = errors.New("disk is full")
	// ErrDamaged: the file is not a database, or not all of one.
	ErrDamaged = errors.New("the database is damaged")
)

// DB is one open database file. Safe for concurrent use, after ReadVersion.
type DB struct {
	writer *sql.DB // one connection
	// lazy is whether the one connection writes without a sync; guarded by having
	// the connection.
	lazy    bool
	readers *sql.DB
	// version is that of the schema when it was read.
	version int64
}

// readConns is how many connections only read. They see every commit, and wait
// neither for the one connection that writes nor for its disk.
const readConns = 4

// Open returns the database in a file, with a pragma for the connection that writes.
// No connection is made before it is used. The caller closes it.
//
// The connection that writes begins with synchronous=FULL: a commit is on the disk
// when it returns. See write.go. What a request asks for uses those that only read: it
// waits for no write, and no write waits for a long list.
func Open(path, pragma string) *DB {
	d := &DB{
		writer:  connect(path, pragma, "synchronous(FULL)", "foreign_keys(ON)", "secure_delete(ON)"), // Rows have secrets.
		readers: connect(path, "query_only(ON)"),
	}
	d.writer.SetMaxOpenConns(1) // SQLite has one writer.
	d.readers.SetMaxOpenConns(readConns)
	d.readers.SetMaxIdleConns(readConns)
	return d
}

// OpenAlone returns the database in a file for reading, where the disk has no room for the index that connections share. It has
// one connection, which excludes those of all others: its index is in memory.
func OpenAlone(path string) *DB {
	alone := connect(path, "locking_mode(EXCLUSIVE)", "query_only(ON)")
	alone.SetMaxOpenConns(1)
	return &DB{writer: alone, readers: alone}
}

func connect(path string, pragmas ...string) *sql.DB {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...),
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open(Driver, dsn.String())
	if err != nil {
		panic(err) // The driver is not registered.
	}
	return db
}

// Create makes the file of a database, with mode 0600, and its directory, if they are
// not there. Their names are durable when it returns.
func Create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	// SQLite gives its side files the mode of the main file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return syncDir(filepath.Dir(path))
}

// Close closes the database, with all of it in the one file.
func (d *DB) Close() error {
	err := d.readers.Close()
	// Nothing is lost if it cannot be done: the log is beside the file.
	_ = d.Checkpoint(context.Background())
	return errors.Join(err, d.writer.Close())
}

// CloseAsItIs closes the database without a checkpoint. The readers go first: the
// last connection to go tidies up.
func (d *DB) CloseAsItIs() error { return errors.Join(d.readers.Close(), d.writer.Close()) }

// Checkpoint moves all writes from the log into the database file: after it, a copy
// of the file alone has all of them.
func (d *DB) Checkpoint(ctx context.Context) error {
	if _, err := d.writer.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return fmt.Errorf("checkpoint the database: %w", classify(err))
	}
	return nil
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

package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// CopyTo writes one consistent copy of the database into a file, while others use the
// database, and returns its size. The file is there when all of it is on the disk; one
// that is there already is fs.ErrExist unless replace is set. The connection that
// writes must not be query_only.
func (d *DB) CopyTo(ctx context.Context, file string, replace bool) (size int64, err error) {
	// Private before there is anything in it: the secrets of the node are.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".rundlet-backup-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := d.writer.ExecContext(ctx, `VACUUM INTO ?`, tmp.Name()); err != nil {
		return 0, classify(err)
	}
	if err := tmp.Sync(); err != nil {
		return 0, err
	}
	info, err := tmp.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), put(tmp.Name(), file, replace)
}

// put gives a complete file its name, durably.
func put(tmp, file string, replace bool) error {
	place := os.Link // Fails if the name is taken.
	if replace {
		place = os.Rename
	}
	return errors.Join(place(tmp, file), syncDir(filepath.Dir(file)))
}

// Exchange puts the database tmp, which is complete and has no log, in the place of the
// one at path, and returns where the former one is now, with its log, if there was one.
// No process may have either open. The caller may try again after a failure: wherever
// it came, all of the former database is there under one name.
func Exchange(tmp, path string) (former string, err error) {
	if err := syncFile(tmp); err != nil {
		return "", err
	}
	if former, err = moveAside(path, time.Now()); err != nil {
		return former, fmt.Errorf("set the former database aside: %w", err)
	}
	return former, put(tmp, path, true)
}

// sideFiles are the suffixes of the files that SQLite keeps beside a database.
var sideFiles = []string{"-wal", "-shm"}

// moveAside gives a database, with the log that belongs to it, a name with a date.
// The new names come first: broken off in between, all of it is there under the
// former name, or under the new one.
func moveAside(database string, now time.Time) (former string, err error) {
	former = database + "." + now.UTC().Format("20060102-150405.000")
	if _, err := os.Lstat(database); errors.Is(err, fs.ErrNotExist) {
		return "", moveLog(database, former)
	}
	for _, side := range []string{"-wal", ""} {
		if err := os.Link(database+side, former+side); err != nil && (side == "" || !errors.Is(err, fs.ErrNotExist)) {
			return "", err
		}
		if err := Exchanging(); err != nil {
			return former, err
		}
	}
	if err := syncDir(filepath.Dir(database)); err != nil {
		return former, err
	}
	// The database goes first: without it the others say nothing.
	for _, side := range append([]string{""}, sideFiles...) {
		if err := os.Remove(database + side); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return former, err
		}
		if err := Exchanging(); err != nil {
			return former, err
		}
	}
	return former, syncDir(filepath.Dir(database))
}

// moveLog moves a log without its database away: SQLite would apply it to the
// next one of that name.
func moveLog(database, former string) error {
	for _, side := range sideFiles {
		if err := os.Rename(database+side, former+side); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(database))
}

// Remove removes a database with its side files, as far as they are there.
func Remove(path string) {
	for _, side := range append([]string{""}, sideFiles...) {
		_ = os.Remove(path + side)
	}
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

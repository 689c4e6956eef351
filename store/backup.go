package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Backup writes one consistent copy of a database into a new file, while others
// use the database, and returns its size. The file is there when all of it is on
// the disk; one that is there already is refused unless replace is set.
func Backup(ctx context.Context, database, file string, replace bool) (size int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up to %s: %w", file, err)
		}
	}()
	if !replace {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return 0, errOr(err, fs.ErrExist)
		}
	}
	// It writes the other file only, but SQLite wants to be asked as a writer.
	s, err := existing(ctx, database, "query_only(OFF)")
	if err != nil {
		return 0, err
	}
	defer s.close()
	// Private before there is anything in it: the secrets of the node are.
	tmp, err := os.CreateTemp(filepath.Dir(file), ".rundlet-backup-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := s.db.ExecContext(ctx, `VACUUM INTO ?`, tmp.Name()); err != nil {
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

// Restore puts a copy of a backup in the place of the database and returns where
// the former one is now, if there was one. The backup is checked first: ErrNewer,
// ErrDamaged, or one of no daemon, change nothing. No process may have the database
// open. The caller may restore again after a failure.
func Restore(ctx context.Context, backup, database string) (former string, err error) {
	tmp := database + ".restoring"
	defer removeDatabase(tmp)
	removeDatabase(tmp) // Of one that was broken off.
	if err := copyBackup(ctx, backup, tmp); err != nil {
		return "", fmt.Errorf("restore %s: %w", backup, err)
	}
	if former, err = moveAside(database, time.Now()); err != nil {
		return former, fmt.Errorf("restore %s: set the former database aside: %w", backup, err)
	}
	if err := put(tmp, database, true); err != nil {
		return former, fmt.Errorf("restore %s: %w", backup, err)
	}
	return former, nil
}

// copyBackup makes a checked copy. Deletions and saves that were in progress in
// the backup have continued since, so its record of garbage does not hold any more. An
// orphan of that time may have had its row since, and is kept for its days from now on.
func copyBackup(ctx context.Context, backup, tmp string) error {
	from, err := OpenReadOnly(ctx, backup)
	if err != nil {
		return err
	}
	defer from.close()
	if from.version == 0 {
		return fmt.Errorf("%w: it has no schema of rundlet", ErrDamaged)
	}
	if err := from.check(ctx, "integrity_check(1)"); err != nil {
		return err
	}
	if used, err := from.Used(ctx); err != nil || !used {
		return errOr(err, errors.New("it is empty"))
	}
	if _, err := Backup(ctx, backup, tmp, false); err != nil {
		return err
	}
	to, err := Open(ctx, tmp)
	if err != nil {
		return err
	}
	for _, change := range []string{
		`DELETE FROM garbage`,
		`DELETE FROM orphans`,
		`DELETE FROM snapshots WHERE state = 'saving' AND id NOT IN (SELECT snapshot_id FROM sandboxes)`,
	} {
		if _, err := to.exec(ctx, change); err != nil {
			return errors.Join(err, to.close())
		}
	}
	if err := to.Checkpoint(ctx); err != nil {
		return errors.Join(err, to.close())
	}
	return errors.Join(to.close(), syncFile(tmp))
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
		if err := restoring(); err != nil {
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
		if err := restoring(); err != nil {
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

// restoring is called between the steps of a restore. Tests break it off there.
var restoring = func() error { return nil }

func removeDatabase(path string) {
	for _, side := range append([]string{""}, sideFiles...) {
		_ = os.Remove(path + side)
	}
}

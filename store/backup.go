package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rundlet/rundlet/store/internal/database"
)

// Backup writes one consistent copy of the database at path into a new file, while others
// use the database, and returns its size. The file is there when all of it is on
// the disk; one that is there already is refused unless replace is set.
func Backup(ctx context.Context, path, file string, replace bool) (size int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up to %s: %w", file, err)
		}
	}()
	if !replace {
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return 0, cmp.Or(err, fs.ErrExist)
		}
	}
	// It writes the other file only, but SQLite wants to be asked as a writer.
	s, err := existing(ctx, path, "query_only(OFF)")
	if err != nil {
		return 0, err
	}
	defer s.db.CloseAsItIs()
	return s.db.CopyTo(ctx, file, replace)
}

// Restore puts a copy of a backup in the place of the database at path and returns where
// the former one is now, if there was one. The backup is checked first: ErrNewer,
// ErrDamaged, or one of no daemon, change nothing. No process may have the database
// open. The caller may restore again after a failure.
func Restore(ctx context.Context, backup, path string) (former string, err error) {
	tmp := path + ".restoring"
	defer database.Remove(tmp)
	database.Remove(tmp) // Of one that was broken off.
	if err := copyBackup(ctx, backup, tmp); err != nil {
		return "", fmt.Errorf("restore %s: %w", backup, err)
	}
	if former, err = database.Exchange(tmp, path); err != nil {
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
	defer from.db.CloseAsItIs()
	if from.db.Version() == 0 {
		return fmt.Errorf("%w: it has no schema of rundlet", ErrDamaged)
	}
	if err := from.db.Check(ctx, "integrity_check(1)"); err != nil {
		return err
	}
	if used, err := from.Used(ctx); err != nil || !used {
		return cmp.Or(err, errors.New("it is empty"))
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
		if _, err := to.db.Exec(ctx, change); err != nil {
			return errors.Join(err, to.db.CloseAsItIs())
		}
	}
	if err := to.Checkpoint(ctx); err != nil {
		return errors.Join(err, to.db.CloseAsItIs())
	}
	return to.db.CloseAsItIs()
}

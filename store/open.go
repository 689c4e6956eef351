package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens the database file, made with mode 0600 if it is not there, checks
// that it is whole, and brings its schema up to date. Several processes may have
// it open. ErrDamaged and ErrNewer: it is left as it is.
func Open(ctx context.Context, path string) (*Store, error) {
	return prepared(ctx, path, func(db *database.DB) error {
		if err := db.Check(ctx, "quick_check(1)"); err != nil {
			return err
		}
		return migrate(ctx, db)
	})
}

// OpenAsItIs opens the database file without a change of its schema, since a
// daemon of another version may have it open; a file that is not there is made.
func OpenAsItIs(ctx context.Context, path string) (*Store, error) {
	return prepared(ctx, path, func(db *database.DB) error {
		if db.Version() == 0 {
			return migrate(ctx, db)
		}
		return nil
	})
}

// OpenReadOnly opens the database file and changes nothing: not the rows, not
// the schema. fs.ErrNotExist if there is none. On a disk without a free byte, and
// beside no other process, it excludes others until it is closed.
func OpenReadOnly(ctx context.Context, path string) (*Store, error) {
	s, err := existing(ctx, path, "query_only(ON)")
	if !errors.Is(err, ErrFull) {
		return s, err
	}
	db := database.OpenAlone(path)
	if err := readVersion(ctx, db); err != nil {
		db.CloseAsItIs()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return newStore(db), nil
}

func existing(ctx context.Context, path, pragma string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := database.Open(path, pragma)
	if err := readVersion(ctx, db); err != nil {
		db.CloseAsItIs()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return newStore(db), nil
}

// prepared makes the file durable before anything is written into it.
func prepared(ctx context.Context, path string, prepare func(*database.DB) error) (*Store, error) {
	if err := database.Create(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db := database.Open(path, "journal_mode(WAL)")
	err := readVersion(ctx, db)
	if err == nil {
		err = prepare(db)
	}
	if err == nil {
		err = readVersion(ctx, db)
	}
	if err != nil {
		db.CloseAsItIs()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return newStore(db), nil
}

func migrate(ctx context.Context, db *database.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, dir)
}

// readVersion refuses a database that a newer program wrote.
func readVersion(ctx context.Context, db *database.DB) error {
	if err := db.ReadVersion(ctx); err != nil {
		return err
	}
	return table.CheckNewer(db.Version())
}

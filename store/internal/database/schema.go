package database

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// Migrate applies the migrations that the database does not have yet.
func (d *DB) Migrate(ctx context.Context, migrations fs.FS) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, d.writer, migrations)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return classify(err)
}

// ReadVersion reads the version of the schema, for Version.
func (d *DB) ReadVersion(ctx context.Context) error {
	var tables int
	err := d.ScanAfterWrites(ctx, []any{&tables}, `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`)
	if err != nil || tables == 0 {
		return err
	}
	return d.ScanAfterWrites(ctx, []any{&d.version}, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`)
}

// Version returns the number of the last migration that was applied when ReadVersion
// read it; 0 if there was none.
func (d *DB) Version() int64 { return d.version }

// Check runs one of SQLite's checks of the whole file; ErrDamaged.
func (d *DB) Check(ctx context.Context, pragma string) error {
	var verdict string
	if err := d.ScanAfterWrites(ctx, []any{&verdict}, `PRAGMA `+pragma); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %.300s", ErrDamaged, verdict)
	}
	return nil
}

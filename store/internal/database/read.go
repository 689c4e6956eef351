package database

import (
	"context"
	"database/sql"
)

// Query runs a query on the connections that only read.
func (d *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := d.readers.QueryContext(ctx, query, args...)
	return rows, classify(err)
}

// Scan reads the one row of a query into dest; sql.ErrNoRows if there is none.
func (d *DB) Scan(ctx context.Context, dest []any, query string, args ...any) error {
	return classify(d.readers.QueryRowContext(ctx, query, args...).Scan(dest...))
}

// ScanAfterWrites is Scan on the connection that writes: it waits for the writes that
// came before it.
func (d *DB) ScanAfterWrites(ctx context.Context, dest []any, query string, args ...any) error {
	return classify(d.writer.QueryRowContext(ctx, query, args...).Scan(dest...))
}

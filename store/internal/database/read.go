package database

import (
	"context"
	"database/sql"
	"fmt"
)

// Each calls row with each row of a query on the connections that only read. Its error
// says what failed.
func (d *DB) Each(ctx context.Context, what string, row func(*sql.Rows) error, query string, args ...any) error {
	rows, err := d.readers.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, classify(err))
	}
	return nil
}

// List returns what scan makes of each row of a query: see DB.Each.
func List[T any](ctx context.Context, d *DB, what string, scan func(*sql.Rows) (T, error), query string, args ...any) (out []T, err error) {
	err = d.Each(ctx, what, func(rows *sql.Rows) error {
		one, err := scan(rows)
		out = append(out, one)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return out, nil
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

package store

import (
	"context"
	"database/sql"
)

// readConns is how many connections only read. They see every commit, and wait
// neither for the one connection that writes nor for its disk.
const readConns = 4

// connectReader returns the connections of everything that only reads: what a
// request asks for waits for no write, and no write waits for a long list. None is
// made before it is used.
func connectReader(path string) *sql.DB {
	db := openAt(path, "query_only(ON)")
	db.SetMaxOpenConns(readConns)
	db.SetMaxIdleConns(readConns)
	return db
}

// query runs a query on the connections that only read.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := s.readers.QueryContext(ctx, query, args...)
	return rows, classify(err)
}

// scan reads the one row of a query into dest; sql.ErrNoRows if there is none.
func (s *Store) scan(ctx context.Context, dest []any, query string, args ...any) error {
	return classify(s.readers.QueryRowContext(ctx, query, args...).Scan(dest...))
}

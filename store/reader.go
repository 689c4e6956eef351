package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"sync"
)

// readConns is how many connections only read. They see every commit, and wait
// neither for the one connection that writes nor for its disk.
const readConns = 4

// readers are connections for what must not wait: the check of a key, which is
// part of every request, and figures, which others must not wait for.
type readers struct {
	mu sync.Mutex
	db *sql.DB // nil until it is used
}

// reading returns the connections that only read.
func (s *Store) reading(ctx context.Context) (*sql.DB, error) {
	s.readers.mu.Lock()
	defer s.readers.mu.Unlock()
	if s.readers.db != nil {
		return s.readers.db, nil
	}
	var path string
	if err := s.db.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		return nil, fmt.Errorf("find the database: %w", err)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "query_only(ON)"},
	}.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readConns)
	db.SetMaxIdleConns(readConns)
	s.readers.db = db
	return db, nil
}

// close must come before the end of the connection that writes: the last one to
// go tidies up.
func (r *readers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.db != nil {
		_ = r.db.Close() // It had nothing to write.
		r.db = nil
	}
}

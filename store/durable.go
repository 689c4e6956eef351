package store

import (
	"context"
	"database/sql"
)

// A change is on the disk when its call returns (synchronous=FULL: the log is
// synced with each commit), but for the rows that a power cut makes untrue
// anyway: those of sandboxes that have a machine and nothing saved, whose machine
// ends with the power, and what can be computed again. Those are written with
// synchronous=NORMAL and without a sync, survive a crash of the daemon, and reach
// the disk with the next change that is synced. The order of changes is kept.

// exec runs a statement whose change is on the disk when it returns.
func (s *Store) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return s.execAs(ctx, false, query, args...)
}

// execLazily runs a statement whose change a power cut may take back.
func (s *Store) execLazily(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return s.execAs(ctx, true, query, args...)
}

// execAs waits for the connection as long as ctx. A statement that has begun then is
// not cancelled: an error would not show whether the row has its new version.
func (s *Store) execAs(ctx context.Context, lazy bool, query string, args ...any) (sql.Result, error) {
	conn, err := s.conn(ctx, lazy)
	if err != nil {
		return nil, classify(err)
	}
	defer conn.Close()
	res, err := conn.ExecContext(context.WithoutCancel(ctx), query, args...)
	return res, classify(err)
}

// write runs change in a transaction: all of it happens or nothing, and it is on
// the disk when write returns.
func (s *Store) write(ctx context.Context, change func(*sql.Tx) error) error {
	return s.writeAs(ctx, false, change)
}

// writeAs is execAs of several statements.
func (s *Store) writeAs(ctx context.Context, lazy bool, change func(*sql.Tx) error) error {
	conn, err := s.conn(ctx, lazy)
	if err != nil {
		return classify(err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	if err := change(tx); err != nil {
		return classify(err)
	}
	return classify(tx.Commit())
}

// conn returns the connection, set to sync with each commit or not. A new
// connection syncs, so that in doubt it does.
func (s *Store) conn(ctx context.Context, lazy bool) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil || s.lazy == lazy {
		return conn, err
	}
	if lazy {
		s.lazy = true
		_, err = conn.ExecContext(ctx, `PRAGMA synchronous=NORMAL`)
	} else if _, err = conn.ExecContext(ctx, `PRAGMA synchronous=FULL`); err == nil {
		s.lazy = false
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

package database

import (
	"context"
	"database/sql"
)

// A change is on the disk when its call returns (synchronous=FULL: the log is
// synced with each commit), unless it is lazy: then it is written with
// synchronous=NORMAL and without a sync, survives a crash of the daemon, and reaches
// the disk with the next change that is synced. The order of changes is kept.

// Exec runs a statement whose change is on the disk when it returns.
func (d *DB) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.ExecAs(ctx, false, query, args...)
}

// ExecLazily runs a statement whose change a power cut may take back.
func (d *DB) ExecLazily(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.ExecAs(ctx, true, query, args...)
}

// ExecAs is Exec or, if lazy, ExecLazily. It waits for the connection as long as ctx. A
// statement that has begun then is not cancelled: an error would not show whether the
// row has its new version.
func (d *DB) ExecAs(ctx context.Context, lazy bool, query string, args ...any) (sql.Result, error) {
	conn, err := d.conn(ctx, lazy)
	if err != nil {
		return nil, classify(err)
	}
	defer conn.Close()
	res, err := conn.ExecContext(context.WithoutCancel(ctx), query, args...)
	return res, classify(err)
}

// Write runs change in a transaction: all of it happens or nothing, and it is on
// the disk when Write returns.
func (d *DB) Write(ctx context.Context, change func(*sql.Tx) error) error {
	return d.WriteAs(ctx, false, change)
}

// WriteAs is ExecAs of several statements.
func (d *DB) WriteAs(ctx context.Context, lazy bool, change func(*sql.Tx) error) error {
	conn, err := d.conn(ctx, lazy)
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
func (d *DB) conn(ctx context.Context, lazy bool) (*sql.Conn, error) {
	conn, err := d.writer.Conn(ctx)
	if err != nil || d.lazy == lazy {
		return conn, err
	}
	if lazy {
		d.lazy = true
		_, err = conn.ExecContext(ctx, `PRAGMA synchronous=NORMAL`)
	} else if _, err = conn.ExecContext(ctx, `PRAGMA synchronous=FULL`); err == nil {
		d.lazy = false
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

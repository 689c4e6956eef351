// Package journal is the table of events of sandboxes. An event is written in the transaction of the row that it is about,
// so that a crash loses none and leaves none of a change that was not made. It may import sandbox and the internal packages of store.
package journal

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Table is the table of one database. Safe for concurrent use.
type Table struct{ db *database.DB }

// In returns the table of a database.
func In(db *database.DB) Table { return Table{db} }

// With runs a statement that changes a row, and adds events; table.ErrStale as Changed.
func With(ctx context.Context, tx *sql.Tx, events []sandbox.Event, query string, values ...any) error {
	res, err := tx.ExecContext(ctx, query, values...)
	if err := table.Changed(res, err); err != nil {
		return err
	}
	return Add(ctx, tx, events)
}

// Add adds events in a transaction. Their positions and ids are new.
func Add(ctx context.Context, tx *sql.Tx, events []sandbox.Event) error {
	for _, e := range events {
		nonce := rand.Int64N(maxNonce + 1) //nolint:gosec // It tells two journals apart, and keeps no secret.
		_, err := tx.ExecContext(ctx, `INSERT INTO events (nonce, type, data, sandbox_id, execution_id, template_id, build_id, key_id, at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, nonce, e.Type, string(e.Data), e.SandboxID, e.ExecutionID, e.TemplateID, e.BuildID, e.KeyID, table.Micros(e.At))
		if err != nil {
			return fmt.Errorf("add event %s of %s: %w", e.Type, e.SandboxID, err)
		}
	}
	return nil
}

// Write adds events that are about no row. A power cut may take them back.
func (t Table) Write(ctx context.Context, events []sandbox.Event) error {
	return t.db.WriteAs(ctx, true, func(tx *sql.Tx) error { return Add(ctx, tx, events) })
}

// Page returns the events that match, in order, of those with a later position than after.
func (t Table) Page(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	if err := table.Current(t.db); err != nil {
		return nil, err
	}
	positions, args := selectPositions(f, after)
	return database.List(ctx, t.db, "list events", scan, `SELECT position, nonce, type, data, sandbox_id, execution_id, template_id, build_id, key_id, at
		FROM events WHERE position IN (`+positions+`) ORDER BY position `+direction(f), args...)
}

func direction(f sandbox.EventFilter) string {
	if f.Ascending {
		return "ASC"
	}
	return "DESC"
}

// selectPositions is the statement that selects the positions of a page, from indexes that have all that is asked for.
func selectPositions(f sandbox.EventFilter, after int64) (query string, args []any) {
	order := ` ORDER BY position ` + direction(f)
	switch {
	case f.SandboxID != "":
		query, args = `SELECT position FROM events WHERE sandbox_id = ? AND position > ?`, []any{f.SandboxID, after}
		if len(f.Types) > 0 {
			query, args = query+` AND type IN (SELECT value FROM json_each(?))`, append(args, table.List(f.Types))
		}
	case len(f.Types) > 0:
		var parts []string
		for _, kind := range f.Types {
			parts = append(parts, `SELECT position FROM (SELECT position FROM events WHERE type = ? AND position > ?`+order+` LIMIT ?)`)
			args = append(args, kind, after, f.Offset+f.Limit)
		}
		query = `SELECT position FROM (` + strings.Join(parts, " UNION ALL ") + `)`
	default:
		query, args = `SELECT position FROM events WHERE position > ?`, []any{after}
	}
	return query + order + ` LIMIT ? OFFSET ?`, append(args, f.Limit, f.Offset)
}

func scan(rows *sql.Rows) (e sandbox.Event, err error) {
	var nonce, at int64
	var data string
	err = rows.Scan(&e.Position, &nonce, &e.Type, &data, &e.SandboxID, &e.ExecutionID, &e.TemplateID, &e.BuildID, &e.KeyID, &at)
	if data != "" {
		e.Data = json.RawMessage(data)
	}
	e.ID, e.At = format(e.Position, nonce), table.FromMicros(at)
	return e, err
}

// Newest returns the id and the position of the newest event; those of the UUID of zeros if there is none.
func (t Table) Newest(ctx context.Context) (id string, position int64, err error) {
	newest, err := t.Page(ctx, sandbox.EventFilter{Limit: 1}, 0)
	if err != nil || len(newest) == 0 {
		return uuid.Nil.String(), 0, err
	}
	return newest[0].ID, newest[0].Position, nil
}

// Position returns the position in the id of an event, which may be gone already; table.ErrNotFound if no event of this
// journal has or had the id, as far as is known. That of the UUID of zeros, which no event has, is 0.
func (t Table) Position(ctx context.Context, id string) (int64, error) {
	position, nonce, ok := parse(id)
	if !ok {
		return 0, fmt.Errorf("event %.64q: %w", id, table.ErrNotFound)
	}
	var found sql.NullInt64
	var last int64
	err := t.db.Scan(ctx, []any{&found, &last}, `SELECT (SELECT nonce FROM events WHERE position = ?),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)`, position)
	if err != nil {
		return 0, fmt.Errorf("find an event: %w", err)
	}
	if position > last || found.Valid && found.Int64 != nonce {
		return 0, fmt.Errorf("event %.64q: %w", id, table.ErrNotFound)
	}
	return position, nil
}

// counts is how many events there are of each key, and of all.
func (t Table) counts(ctx context.Context) (byKey map[string]int64, all int64, err error) {
	byKey = map[string]int64{}
	err = t.db.Each(ctx, "count events", func(rows *sql.Rows) error {
		var key string
		var n int64
		err := rows.Scan(&key, &n)
		byKey[key] = n
		all += n
		return err
	}, `SELECT key_id, count(*) FROM events GROUP BY key_id`)
	return byKey, all, err
}

// largest is the key with the most events.
func largest(byKey map[string]int64) (key string) {
	first := true
	for k, n := range byKey {
		if first || cmp.Or(cmp.Compare(n, byKey[key]), strings.Compare(key, k)) > 0 {
			key, first = k, false
		}
	}
	return key
}

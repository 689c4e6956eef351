package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Page selects snapshots of one kind that are ready.
type Page struct {
	Kind string
	// Source, if set, is the sandbox that they were taken of.
	Source string
	// Name, if set, is the id or the name of the one. With AllTags it is also the part
	// of names before a colon.
	Name    string
	AllTags bool
	// AfterTime and AfterID, if set, are the place that the page begins behind.
	AfterTime time.Time
	AfterID   string
	// Limit is the most rows; 0 is all.
	Limit int
}

// Page returns the rows that a page has, the newest first, ties by id. An
// index gives the order: rows of other pages are not read. Of each row only ID,
// Name, Source, Bytes, KeyID and CreatedAt are set.
func (s Snapshots) Page(ctx context.Context, p Page) ([]Snapshot, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	where, args := []string{`kind = ?`, `state = 'ready'`}, []any{p.Kind}
	add := func(condition string, more ...any) {
		where, args = append(where, condition), append(args, more...)
	}
	if p.Source != "" {
		add(`source = ?`, p.Source)
	}
	if p.Name != "" {
		ids := `SELECT id FROM snapshots WHERE id = ? UNION SELECT id FROM snapshots WHERE name = ? AND name <> ''`
		args = append(args, p.Name, p.Name)
		if p.AllTags {
			// What begins with the name and a colon; the semicolon is the character after it.
			ids += ` UNION SELECT id FROM snapshots WHERE name > ? AND name < ? AND name <> ''`
			args = append(args, p.Name+":", p.Name+";")
		}
		add(`id IN (` + ids + `)`)
	}
	if p.AfterID != "" {
		// The first condition is what an index can begin at.
		at := table.Micros(p.AfterTime)
		add(`created_at <= ?`, at)
		add(`(created_at < ? OR id > ?)`, at, p.AfterID)
	}
	query := `SELECT id, name, source, bytes, key_id, created_at FROM snapshots WHERE ` + strings.Join(where, ` AND `) + ` ORDER BY created_at DESC, id`
	if p.Limit > 0 {
		query, args = query+` LIMIT ?`, append(args, p.Limit)
	}
	return database.List(ctx, s.db, "list snapshots", func(rows *sql.Rows) (Snapshot, error) {
		n := Snapshot{Kind: p.Kind, State: SnapshotReady}
		var created int64
		err := rows.Scan(&n.ID, &n.Name, &n.Source, &n.Bytes, &n.KeyID, &created)
		n.CreatedAt = table.FromMicros(created)
		return n, err
	}, query, args...)
}

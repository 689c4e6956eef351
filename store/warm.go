package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Warm is the table of how many machines of a template are kept warm, by its name, where a client has said it.
type Warm struct{ db *database.DB }

// Set stores the number of a template.
func (s Warm) Set(ctx context.Context, template string, ready int) error {
	_, err := s.db.Exec(ctx, `INSERT INTO warm (template, ready) VALUES (?, ?) ON CONFLICT (template) DO UPDATE SET ready = excluded.ready`, template, ready)
	if err != nil {
		return fmt.Errorf("store how many machines of %s are kept warm: %w", template, err)
	}
	return nil
}

// Unset forgets the number of a template. If it is not stored, there is nothing to do.
func (s Warm) Unset(ctx context.Context, template string) error {
	if _, err := s.db.Exec(ctx, `DELETE FROM warm WHERE template = ?`, template); err != nil {
		return fmt.Errorf("forget how many machines of %s are kept warm: %w", template, err)
	}
	return nil
}

// All returns the stored numbers, by the names of the templates.
func (s Warm) All(ctx context.Context) (map[string]int, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	all := map[string]int{}
	err := s.db.Each(ctx, "read how many machines are kept warm", func(rows *sql.Rows) error {
		var template string
		var ready int
		err := rows.Scan(&template, &ready)
		all[template] = ready
		return err
	}, `SELECT template, ready FROM warm`)
	return all, err
}

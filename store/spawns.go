package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// SpawnCounts is the table of how often each template was used, by its alias.
type SpawnCounts struct{ db *database.DB }

// Spawns is how many sandboxes were created from a template, and when last.
type Spawns struct {
	Count int64
	Last  time.Time
}

// Add adds to the counts of templates, by their aliases.
func (s SpawnCounts) Add(ctx context.Context, more map[string]Spawns) error {
	for template, add := range more {
		_, err := s.db.ExecLazily(ctx, `INSERT INTO spawns (template, n, last) VALUES (?, ?, ?)
			ON CONFLICT (template) DO UPDATE SET n = n + excluded.n, last = max(last, excluded.last)`, template, add.Count, table.Micros(add.Last))
		if err != nil {
			return fmt.Errorf("count spawns of %s: %w", template, err)
		}
	}
	return nil
}

// All returns the counts of all templates, by their aliases.
func (s SpawnCounts) All(ctx context.Context) (map[string]Spawns, error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	all := map[string]Spawns{}
	err := s.db.Each(ctx, "read spawns", func(rows *sql.Rows) error {
		var template string
		var spawns Spawns
		var last int64
		err := rows.Scan(&template, &spawns.Count, &last)
		spawns.Last = table.FromMicros(last)
		all[template] = spawns
		return err
	}, `SELECT template, n, last FROM spawns`)
	return all, err
}

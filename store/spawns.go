package store

import (
	"context"
	"fmt"
	"time"
)

// Spawns is how many sandboxes were created from a template, and when last.
type Spawns struct {
	Count int64
	Last  time.Time
}

// AddSpawns adds to the counts of templates, by their aliases.
func (s *Store) AddSpawns(ctx context.Context, more map[string]Spawns) error {
	for template, add := range more {
		_, err := s.execLazily(ctx, `INSERT INTO spawns (template, n, last) VALUES (?, ?, ?)
			ON CONFLICT (template) DO UPDATE SET n = n + excluded.n, last = max(last, excluded.last)`, template, add.Count, micros(add.Last))
		if err != nil {
			return fmt.Errorf("count spawns of %s: %w", template, err)
		}
	}
	return nil
}

// Spawns returns the counts of all templates, by their aliases.
func (s *Store) Spawns(ctx context.Context) (map[string]Spawns, error) {
	if err := s.current(); err != nil {
		return nil, err
	}
	rows, err := s.query(ctx, `SELECT template, n, last FROM spawns`)
	if err != nil {
		return nil, fmt.Errorf("read spawns: %w", err)
	}
	defer rows.Close()
	all := map[string]Spawns{}
	for rows.Next() {
		var template string
		var spawns Spawns
		var last int64
		if err := rows.Scan(&template, &spawns.Count, &last); err != nil {
			return nil, fmt.Errorf("read spawns: %w", err)
		}
		spawns.Last = fromMicros(last)
		all[template] = spawns
	}
	return all, rows.Err()
}

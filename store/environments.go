package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Environments is the table of the environments of sandboxes and snapshots, by their
// ids. A row goes with that of the sandbox or snapshot.
type Environments struct{ db *database.DB }

// Put keeps the environment that a sandbox or a snapshot was given,
// until it ends. It is on the disk with the next change that is.
func (s Environments) Put(ctx context.Context, id string, env map[string]string) error {
	text, err := json.Marshal(env)
	if err == nil {
		_, err = s.db.ExecLazily(ctx, `INSERT INTO environments (id, env) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET env = excluded.env`, id, string(text))
	}
	if err != nil {
		return fmt.Errorf("put environment of %s: %w", id, err)
	}
	return nil
}

// Get returns the one that Put stored; nil if there is none.
func (s Environments) Get(ctx context.Context, id string) (env map[string]string, err error) {
	if err := table.Current(s.db); err != nil {
		return nil, err
	}
	var text string
	err = s.db.Scan(ctx, []any{&text}, `SELECT env FROM environments WHERE id = ?`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &env)
	}
	if err != nil {
		return nil, fmt.Errorf("environment of %s: %w", id, err)
	}
	return env, nil
}

// Copy stores the environment of one sandbox or snapshot for another, too.
func (s Environments) Copy(ctx context.Context, to, from string) error {
	env, err := s.Get(ctx, from)
	if err != nil || len(env) == 0 {
		return err
	}
	return s.Put(ctx, to, env)
}

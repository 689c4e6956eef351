package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// PutEnvironment keeps the environment that a sandbox or a snapshot was given,
// until it ends. It is on the disk with the next change that is.
func (s *Store) PutEnvironment(ctx context.Context, id string, env map[string]string) error {
	text, err := json.Marshal(env)
	if err == nil {
		_, err = s.execLazily(ctx, `INSERT INTO environments (id, env) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET env = excluded.env`, id, string(text))
	}
	if err != nil {
		return fmt.Errorf("put environment of %s: %w", id, err)
	}
	return nil
}

// Environment returns the one that PutEnvironment stored; nil if there is none.
func (s *Store) Environment(ctx context.Context, id string) (env map[string]string, err error) {
	if err := s.current(); err != nil {
		return nil, err
	}
	var text string
	err = s.scan(ctx, []any{&text}, `SELECT env FROM environments WHERE id = ?`, id)
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

// CopyEnvironment stores the environment of one sandbox or snapshot for another, too.
func (s *Store) CopyEnvironment(ctx context.Context, to, from string) error {
	env, err := s.Environment(ctx, from)
	if err != nil || len(env) == 0 {
		return err
	}
	return s.PutEnvironment(ctx, to, env)
}

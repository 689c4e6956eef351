package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

// Keys is the table of API keys. It is read with the schema of an older program, too.
type Keys struct{ db *database.DB }

// Key is an API key as it is stored: its hash, never the key.
type Key struct {
	ID   string
	Name string
	// Hash is the SHA-256 of the whole key.
	Hash []byte
	// Hint is the end of the key, to help people distinguish keys.
	Hint      string
	CreatedAt time.Time
}

// Add stores a key.
func (s Keys) Add(ctx context.Context, k Key) error {
	_, err := s.db.Exec(ctx, `INSERT INTO api_keys (id, name, hash, hint, created_at) VALUES (?,?,?,?,?)`,
		k.ID, k.Name, k.Hash, k.Hint, table.Micros(k.CreatedAt))
	if err != nil {
		return fmt.Errorf("add key %s: %w", k.ID, err)
	}
	return nil
}

// All returns all keys, oldest first.
func (s Keys) All(ctx context.Context) ([]Key, error) {
	return database.List(ctx, s.db, "list keys", func(rows *sql.Rows) (k Key, err error) {
		var created int64
		err = rows.Scan(&k.ID, &k.Name, &k.Hash, &k.Hint, &created)
		k.CreatedAt = table.FromMicros(created)
		return k, err
	}, `SELECT id, name, hash, hint, created_at FROM api_keys ORDER BY created_at, id`)
}

// ByHash finds a key by its hash, or ErrNotFound. The look-up is by index on
// a hash of 160 random bits, so its timing reveals nothing about a key.
func (s Keys) ByHash(ctx context.Context, hash []byte) (Key, error) {
	var k Key
	var created int64
	err := s.db.Scan(ctx, []any{&k.ID, &k.Name, &k.Hash, &k.Hint, &created},
		`SELECT id, name, hash, hint, created_at FROM api_keys WHERE hash = ?`, hash)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, fmt.Errorf("key: %w", ErrNotFound)
	}
	if err != nil {
		return Key{}, fmt.Errorf("find key: %w", err)
	}
	k.CreatedAt = table.FromMicros(created)
	return k, nil
}

// Remove removes a key by id; ErrNotFound if there is none.
func (s Keys) Remove(ctx context.Context, id string) error {
	res, err := s.db.Exec(ctx, `DELETE FROM api_keys WHERE id = ?`, id)
	if err != nil {
		return fmt.Errorf("remove key %s: %w", id, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("key %s: %w", id, ErrNotFound)
	}
	return nil
}

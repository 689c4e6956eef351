package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/store/internal/database"
)

// Settings is the table of values that are made once and kept with the rows: secrets and
// ids. They go with a backup.
type Settings struct{ db *database.DB }

// GetOrMake returns the value stored under name; if there is none, it stores and
// returns the result of make. Two processes that race get the same value.
func (s Settings) GetOrMake(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error) {
	fresh, err := make()
	if err != nil {
		return nil, err
	}
	_, err = s.db.Exec(ctx, `INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", name, err)
	}
	var value []byte
	err = s.db.ScanAfterWrites(ctx, []any{&value}, `SELECT value FROM settings WHERE name = ?`, name)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", name, err)
	}
	return value, nil
}

// NodeID returns the id of the node whose database this is: "n" and 16 hexadecimal
// digits, made once and kept with the rows. It goes with a backup: a node that restores
// it, here or on another machine, is the node then, since the rows say of its files
// where they are. So a backup moves a node and does not copy it: of two machines
// with one id, one must never start again.
func (s Settings) NodeID(ctx context.Context) (string, error) {
	id, err := s.GetOrMake(ctx, nodeSetting, func() ([]byte, error) {
		var b [8]byte
		_, _ = rand.Read(b[:]) // Never fails.
		return []byte("n" + hex.EncodeToString(b[:])), nil
	})
	return string(id), err
}

const nodeSetting = "node_id"

// KnownNodeID returns the id of the node, or empty if no daemon has made one yet. It
// changes nothing.
func (s Settings) KnownNodeID(ctx context.Context) (id string, err error) {
	err = s.db.Scan(ctx, []any{&id}, `SELECT CAST(value AS TEXT) FROM settings WHERE name = ?`, nodeSetting)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the id of the node: %w", err)
	}
	return id, nil
}

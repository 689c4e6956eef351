package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrStale: the row was changed by another writer since it was read, or is gone.
// Nothing was written. The caller reads the row again and decides anew; it never
// overwrites the row with its old copy.
//
// The daemon that has the lock of the state directory is the only writer of
// sandboxes and snapshots, and writes a sandbox's row with the lock of the sandbox
// held. Every process that uses the state directory writes templates, with another
// lock held. So ErrStale shows a defect, or a hand in the database.
var ErrStale = errors.New("the row was changed by another writer")

// changed is ErrStale if a statement changed no row.
func changed(res sql.Result) error {
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// insertAndUpdate returns the statements that insert a row, unless another has the same id or something
// else that is unique, and that change the one of the same id and version. Their parameters are the columns, of which the first is the id and the
// last is the version that the row has before. Columns that are not named, of a newer
// schema, keep what they have.
func insertAndUpdate(table, columns string) (insert, update string) {
	var marks, changes []string
	n := 0
	for column := range strings.SplitSeq(columns, ",") {
		n++
		column = strings.TrimSpace(column)
		mark := fmt.Sprintf("?%d", n)
		if column == "version" {
			mark += " + 1"
		}
		marks = append(marks, mark)
		if column != "id" {
			changes = append(changes, column+" = "+mark)
		}
	}
	insert = "INSERT INTO " + table + " (" + columns + ") VALUES (" + strings.Join(marks, ", ") + ") ON CONFLICT DO NOTHING"
	update = "UPDATE " + table + " SET " + strings.Join(changes, ", ") + fmt.Sprintf(" WHERE id = ?1 AND version = ?%d", n)
	return insert, update
}

// NodeID returns the id of the node whose database this is: "n" and 16 hexadecimal
// digits, made once and kept with the rows. It goes with a backup: a node that restores
// it, here or on another machine, is the node then, since the rows say of its files
// where they are. So a backup moves a node and does not copy it: of two machines
// with one id, one must never start again.
func (s *Store) NodeID(ctx context.Context) (string, error) {
	id, err := s.Setting(ctx, nodeSetting, func() ([]byte, error) {
		var b [8]byte
		_, _ = rand.Read(b[:]) // Never fails.
		return []byte("n" + hex.EncodeToString(b[:])), nil
	})
	return string(id), err
}

const nodeSetting = "node_id"

// KnownNodeID returns the id of the node, or empty if no daemon has made one yet. It
// changes nothing.
func (s *Store) KnownNodeID(ctx context.Context) (id string, err error) {
	err = s.scan(ctx, []any{&id}, `SELECT CAST(value AS TEXT) FROM settings WHERE name = ?`, nodeSetting)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the id of the node: %w", err)
	}
	return id, nil
}

// FillOwner gives the rows of before schema 6 the node and the driver that they were
// written by: there was one of each.
func (s *Store) FillOwner(ctx context.Context, node, driver string) error {
	err := s.write(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"sandboxes", "snapshots"} {
			_, err := tx.ExecContext(ctx, `UPDATE `+table+` SET node = ?, driver = ?, version = version + 1 WHERE node = ''`, node, driver) //nolint:gosec // The names are ours, from the list above.
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fill in the node of older rows: %w", err)
	}
	return nil
}

// Package table is what the tables of the store have alike: the version of the schema, the versions of rows, and how values are
// kept. It may import store/internal/database.
package table

import (
	"database/sql"
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

// Changed is the error of a statement, or ErrStale if it changed no row.
func Changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// InsertAndUpdate returns the statements that insert a row, unless another has the same id or something
// else that is unique, and that change the one of the same id and version. Their parameters are the columns, of which the first is the id and the
// last is the version that the row has before. Columns that are not named, of a newer
// schema, keep what they have.
func InsertAndUpdate(table, columns string) (insert, update string) {
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

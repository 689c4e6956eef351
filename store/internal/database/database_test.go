package database

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// fresh returns a new database with one table, t.
func fresh(t *testing.T, path string) *DB {
	t.Helper()
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	d := Open(path, "journal_mode(WAL)")
	t.Cleanup(func() { d.Close() })
	if _, err := d.Exec(t.Context(), `CREATE TABLE t (x TEXT)`); err != nil {
		t.Fatal(err)
	}
	return d
}

// synced reports how SQLite committed the last change.
func synced(t *testing.T, d *DB) bool {
	t.Helper()
	var level int
	if err := d.ScanAfterWrites(t.Context(), []any{&level}, `PRAGMA synchronous`); err != nil {
		t.Fatal(err)
	}
	return level == 2
}

func TestEachChangeSaysWhetherItIsSynced(t *testing.T) {
	ctx, d := t.Context(), fresh(t, filepath.Join(t.TempDir(), "db"))
	const insert = `INSERT INTO t VALUES ('x')`
	change := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, insert)
		return err
	}
	for i, c := range []struct {
		do   func() error
		want bool
	}{
		{func() error { _, err := d.Exec(ctx, insert); return err }, true},
		{func() error { _, err := d.ExecLazily(ctx, insert); return err }, false},
		{func() error { return d.Write(ctx, change) }, true},
		{func() error { return d.WriteAs(ctx, true, change) }, false},
		{func() error { return d.WriteAs(ctx, false, change) }, true},
	} {
		if err := c.do(); err != nil || synced(t, d) != c.want {
			t.Errorf("change %d: %v; it is synced: %v", i, err, !c.want)
		}
	}
}

func TestANewConnectionSyncs(t *testing.T) {
	ctx, d := t.Context(), fresh(t, filepath.Join(t.TempDir(), "db"))
	if _, err := d.ExecLazily(ctx, `INSERT INTO t VALUES ('x')`); err != nil || synced(t, d) {
		t.Fatalf("this test shows nothing: %v, synced %v", err, synced(t, d))
	}
	d.writer.SetMaxIdleConns(0) // The connection that writes lazily goes.
	d.writer.SetMaxIdleConns(1)
	if _, err := d.Exec(ctx, `INSERT INTO t VALUES ('x')`); err != nil || !synced(t, d) {
		t.Errorf("%v, synced %v", err, synced(t, d))
	}
}

// A call whose context ends has written nothing, or all of it: never an error for a
// change that was made.
func TestAChangeThatBeganIsNotCancelled(t *testing.T) {
	d := fresh(t, filepath.Join(t.TempDir(), "db"))
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO t VALUES ('x')`)
		cancel()
		return err
	})
	var n int
	if scan := d.Scan(t.Context(), []any{&n}, `SELECT count(*) FROM t`); scan != nil || err != nil || n != 1 {
		t.Errorf("%v, %v, %d rows", err, scan, n)
	}
	if _, err := d.Exec(ctx, `INSERT INTO t VALUES ('x')`); !errors.Is(err, context.Canceled) {
		t.Errorf("a change that had not begun: %v", err)
	}
}

// What only reads waits for no write, and a reader cannot write.
func TestReadersWaitForNoWriteAndMakeNone(t *testing.T) {
	d := fresh(t, filepath.Join(t.TempDir(), "db"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var n int
	if err := d.Write(ctx, func(*sql.Tx) error { return d.Scan(ctx, []any{&n}, `SELECT count(*) FROM t`) }); err != nil {
		t.Error(err)
	}
	got, err := List(ctx, d, "write", func(rows *sql.Rows) (x string, err error) { return x, rows.Err() }, `INSERT INTO t VALUES ('x') RETURNING x`)
	if err == nil {
		t.Errorf("a reader wrote %q", got)
	}
}

// An error of any row is an error of the list, and has what it was for.
func TestAListIsOfAllRows(t *testing.T) {
	ctx, d := t.Context(), fresh(t, filepath.Join(t.TempDir(), "db"))
	if _, err := d.Exec(ctx, `INSERT INTO t VALUES ('7'), ('8'), ('x')`); err != nil {
		t.Fatal(err)
	}
	number := func(rows *sql.Rows) (n int, err error) {
		err = rows.Scan(&n)
		return n, err
	}
	if got, err := List(ctx, d, "list numbers", number, `SELECT x FROM t WHERE x <> ? ORDER BY x DESC`, "x"); err != nil || !slices.Equal(got, []int{8, 7}) {
		t.Errorf("%v, %v", got, err)
	}
	for what, query := range map[string]string{"scan": `SELECT x FROM t`, "query": `SELECT y FROM t`, "step": `SELECT abs(-9223372036854775807 - (x = 'x')) FROM t`} {
		if got, err := List(ctx, d, "list numbers", number, query); err == nil || !strings.HasPrefix(err.Error(), "list numbers: ") || got != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}

func TestTheVersionIsThatOfTheLastMigration(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "sub", "db")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	d := Open(path, "journal_mode(WAL)")
	defer d.Close()
	files := fstest.MapFS{}
	for i, name := range []string{"", "0001_a.sql", "0002_b.sql"} {
		if name != "" {
			files[name] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE " + name[5:6] + " (x TEXT);\n")}
			if err := d.Migrate(ctx, files); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.ReadVersion(ctx); err != nil || d.Version() != int64(i) {
			t.Errorf("after %q: version %d, %v", name, d.Version(), err)
		}
	}
	if err := d.Check(ctx, "quick_check(1)"); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsNotADatabaseIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	d := Open(path, "query_only(ON)")
	defer d.CloseAsItIs()
	if err := d.Check(t.Context(), "quick_check(1)"); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

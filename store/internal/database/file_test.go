package database

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func add(t *testing.T, d *DB, x string) {
	t.Helper()
	if _, err := d.Exec(t.Context(), `INSERT INTO t VALUES (?)`, x); err != nil {
		t.Fatal(err)
	}
}

// content returns the last row of a database.
func content(t *testing.T, path string) (x string) {
	t.Helper()
	d := Open(path, "query_only(ON)")
	defer d.CloseAsItIs()
	if err := d.Scan(t.Context(), []any{&x}, `SELECT x FROM t ORDER BY rowid DESC LIMIT 1`); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return x
}

func TestACopyHasWhatTheLogHas(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	d := fresh(t, filepath.Join(dir, "db"))
	add(t, d, "a") // It is in the log.
	file := filepath.Join(dir, "copy")
	size, err := d.CopyTo(ctx, file, false)
	if info, stat := os.Stat(file); err != nil || stat != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Fatalf("size %d, %v; %v, %v", size, err, info, stat)
	}
	add(t, d, "b")
	if _, err := d.CopyTo(ctx, file, false); !errors.Is(err, fs.ErrExist) || content(t, file) != "a" {
		t.Errorf("over another: %v, it has %q", err, content(t, file))
	}
	if _, err := d.CopyTo(ctx, file, true); err != nil || content(t, file) != "b" {
		t.Errorf("replaced: %v, it has %q", err, content(t, file))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".rundlet-backup-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAnExchangeKeepsTheFormerWithItsLog(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	tmp, path := filepath.Join(dir, "tmp"), filepath.Join(dir, "db")
	for _, name := range []string{tmp, filepath.Join(dir, "live")} {
		d := fresh(t, name)
		add(t, d, filepath.Base(name))
		if name == tmp {
			d.Close()
			continue
		}
		if err := d.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		add(t, d, "log")
		for _, side := range []string{"", "-wal"} { // As a kill leaves it.
			data, err := os.ReadFile(name + side)
			if err := errors.Join(err, os.WriteFile(path+side, data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	former, err := Exchange(tmp, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(former + "-wal"); err != nil {
		t.Errorf("the log of the former one: %v", err)
	}
	if x := content(t, path); x != "tmp" {
		t.Errorf("the new one has %q", x)
	}
	if x := content(t, former); x != "log" {
		t.Errorf("the former one, at %s, has %q", former, x)
	}
	Remove(path)
	if left, _ := filepath.Glob(path + "*"); !slices.Equal(left, []string{former}) { // Its log went when it was closed.
		t.Errorf("after Remove: %v", left)
	}
}

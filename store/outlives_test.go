package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/rundlet/rundlet/sandbox"
)

// Which changes are on the disk when their call returns: SQLite itself is asked
// how it committed the last one.
func TestUserDataOutlivesAPowerCutByTheRowThatNeedsIt(t *testing.T) {
	ctx := t.Context()
	put := func(state sandbox.State, claim string) func(*Store) error {
		return func(s *Store) error {
			old, _ := s.Sandboxes.Get(ctx, "i1") // Or none.
			return s.Sandboxes.Put(ctx, &Sandbox{ID: "i1", State: state, SnapshotID: claim, Version: old.Version})
		}
	}
	claim := func(state string) func(*Store) error {
		return func(s *Store) error {
			old, _ := s.Snapshots.Get(ctx, "c") // Or none.
			n := snapshotRow("c", "", 1)
			n.State, n.Version = state, old.Version
			return s.Snapshots.Put(ctx, &n)
		}
	}
	none := func(*Store) error { return nil }
	for name, c := range map[string]struct {
		before, change func(*Store) error
		synced         bool
	}{
		"create intent":                     {none, put("creating", ""), false},
		"create outcome":                    {put("creating", ""), put("running", ""), false},
		"a later end":                       {put("running", ""), put("running", ""), false},
		"kill of what runs":                 {put("running", ""), put("killed", ""), false},
		"pause intent":                      {put("running", ""), put("pausing", "c"), true},
		"pause outcome":                     {put("pausing", "c"), put("paused", "c"), true},
		"an undone pause":                   {put("pausing", "c"), put("running", ""), true},
		"resume intent":                     {put("paused", "c"), put("resuming", "c"), true},
		"resume outcome":                    {put("resuming", "c"), put("running", ""), true},
		"intent to kill what is paused":     {put("paused", "c"), put("killing", "c"), true},
		"kill of what was paused":           {put("killing", "c"), put("killed", ""), true},
		"a state of a newer program":        {none, put("hibernating", ""), true},
		"what follows on such a state":      {put("hibernating", ""), put("running", ""), true},
		"claim that is not filled":          {none, claim(SnapshotSaving), false},
		"claim that is filled":              {claim(SnapshotSaving), claim(SnapshotReady), true},
		"claim that is given up":            {claim(SnapshotReady), func(s *Store) error { _, err := s.Snapshots.Drop(ctx, "c", 1); return err }, true},
		"digests, which are computed again": {claim(SnapshotReady), func(s *Store) error { return s.Snapshots.Seal(ctx, "c", 1, "{}") }, false},
		"key":                               {none, func(s *Store) error { return s.Keys.Add(ctx, Key{ID: "k", Hash: []byte("h")}) }, true},
		"removed key": {func(s *Store) error { return s.Keys.Add(ctx, Key{ID: "k", Hash: []byte("h")}) },
			func(s *Store) error { return s.Keys.Remove(ctx, "k") }, true},
		"setting": {none, func(s *Store) error {
			_, err := s.Settings.GetOrMake(ctx, "n", func() ([]byte, error) { return []byte("v"), nil })
			return err
		}, true},
		"template": {none, func(s *Store) error { return s.Templates.Put(ctx, &Template{ID: "t", Alias: "a"}) }, true},
		"orphan": {none, func(s *Store) error {
			_, err := s.Orphans.SetAside(ctx, OrphanSnapshot, "v", "s", time.Now())
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "db"))
			// Whatever was committed last, and how.
			if err := s.Sandboxes.Put(ctx, &Sandbox{ID: "other", State: "running"}); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.before(s), c.change(s)); err != nil {
				t.Fatal(err)
			}
			var level int
			if err := s.db.ScanAfterWrites(ctx, []any{&level}, `PRAGMA synchronous`); err != nil {
				t.Fatal(err)
			}
			if full := level == 2; full != c.synced {
				t.Errorf("synchronous=%d, want it synced: %v", level, c.synced)
			}
		})
	}
}

func TestTheFileAloneHasEverythingAfterACheckpoint(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	alone := func() (Sandbox, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c := open(t, copied)
		return c.Sandboxes.Get(ctx, "i1")
	}
	if err := s.Sandboxes.Put(ctx, new(sample("i1", "paused"))); err != nil {
		t.Fatal(err)
	}
	if _, err := alone(); !errors.Is(err, ErrNotFound) {
		t.Fatalf("this test shows nothing: without the log the row is %v", err)
	}
	if err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := alone(); err != nil {
		t.Errorf("after a checkpoint: %v", err)
	}
	resuming := sample("i1", "resuming")
	resuming.Version = 1
	if err := s.Sandboxes.Put(ctx, &resuming); err != nil {
		t.Fatal(err)
	}
	other := open(t, path) // As another process that keeps it open.
	s.Close()
	if row, err := alone(); err != nil || row.State != "resuming" {
		t.Errorf("after Close: %v, %v", row.State, err)
	}
	other.Close()
}

// evolve makes the database one of a newer program.
func evolve(t *testing.T, path string, statements ...string) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	for _, statement := range statements {
		if _, err := s.db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUserDataOutlivesANewerSchema(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	evolve(t, path, fmt.Sprintf(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, 1)`, Schema+1))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, opener := range map[string]func(context.Context, string) (*Store, error){"Open": Open, "OpenAsItIs": OpenAsItIs, "OpenReadOnly": OpenReadOnly} {
		s, err := opener(ctx, path)
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprintf("schema %d, this program knows %d", Schema+1, Schema)) {
			t.Errorf("%s: %v", name, err)
		}
		if s != nil {
			s.Close()
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it was changed, %v", err)
	}
	if _, err := Restore(ctx, path, filepath.Join(t.TempDir(), "db")); !errors.Is(err, ErrNewer) {
		t.Errorf("restore: %v", err)
	}
}

func TestARowKeepsTheColumnsOfANewerProgram(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	evolve(t, path, `ALTER TABLE sandboxes ADD COLUMN later TEXT NOT NULL DEFAULT ''`,
		`ALTER TABLE snapshots ADD COLUMN later TEXT NOT NULL DEFAULT ''`, `ALTER TABLE templates ADD COLUMN later TEXT NOT NULL DEFAULT ''`)
	s := open(t, path)
	sb, claim, tpl := sample("i1", "paused"), snapshotRow("c", "n", 1), Template{ID: "t", Alias: "base"}
	put := func() {
		if err := errors.Join(s.Sandboxes.Put(ctx, &sb), s.Snapshots.Put(ctx, &claim), s.Templates.Put(ctx, &tpl)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	for _, table := range []string{"sandboxes", "snapshots", "templates"} {
		if _, err := s.db.Exec(ctx, `UPDATE `+table+` SET later = 'precious'`); err != nil {
			t.Fatal(err)
		}
	}
	put()
	for _, table := range []string{"sandboxes", "snapshots", "templates"} {
		var later string
		if err := s.db.Scan(ctx, []any{&later}, `SELECT later FROM `+table); err != nil || later != "precious" {
			t.Errorf("%s: %q, %v", table, later, err)
		}
	}
}

// older makes a database as the program before this one left it.
func older(t *testing.T, path string) {
	t.Helper()
	ofVersion(t, path, Schema-1)
}

// ofVersion makes a database with the schema of a version.
func ofVersion(t *testing.T, path string, version int64) {
	t.Helper()
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err == nil {
		_, err = p.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// raw is the database file without any of this program around it.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestWhoOnlyReadsChangesNothing(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	if _, err := OpenReadOnly(ctx, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a database: %v", err)
	}
	older(t, path)
	for name, opener := range map[string]func(context.Context, string) (*Store, error){"OpenReadOnly": OpenReadOnly, "OpenAsItIs": OpenAsItIs} {
		s, err := opener(ctx, path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Keys.All(ctx); err != nil {
			t.Errorf("%s: keys of an older schema: %v", name, err)
		}
		if _, err := s.Sandboxes.Killed(ctx, 1); !errors.Is(err, ErrOlder) {
			t.Errorf("%s: sandboxes of an older schema: %v", name, err)
		}
		if s.db.Version() != Schema-1 {
			t.Errorf("%s: the schema has version %d", name, s.db.Version())
		}
		err = s.Keys.Add(ctx, Key{ID: name, Hash: []byte(name)})
		if refused := err != nil; refused != (name == "OpenReadOnly") {
			t.Errorf("%s: a write: %v", name, err)
		}
		s.Close()
	}
	s := open(t, path)
	if s.db.Version() != Schema {
		t.Errorf("Open leaves it at version %d", s.db.Version())
	}
}

func TestUserDataOutlivesADamagedDatabase(t *testing.T) {
	ctx := t.Context()
	whole := filepath.Join(t.TempDir(), "db")
	s := open(t, whole)
	for i := range 200 {
		if err := s.Sandboxes.Put(ctx, new(sample(fmt.Sprintf("i%03d", i), "paused"))); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"half of it":         content[:len(content)/2/4096*4096],
		"cut inside a page":  content[:len(content)/2/4096*4096+1000],
		"one page":           content[:4096],
		"zeros at the start": append(make([]byte, 4096), content[4096:]...),
		"zeros in it":        append(append(bytes.Clone(content[:len(content)-40960]), make([]byte, 20480)...), content[len(content)-20480:]...),
		"not a database":     bytes.Repeat([]byte("x"), 8192),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(ctx, path)
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("opened: %v", err)
			}
			if s != nil {
				s.Close()
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("it was changed, %v", err)
			}
			good := filepath.Join(t.TempDir(), "good")
			if err := os.WriteFile(good, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(ctx, path, good); err == nil {
				t.Error("it was restored")
			}
			if after, err := os.ReadFile(good); err != nil || !bytes.Equal(after, content) {
				t.Errorf("a refused restore changed the database, %v", err)
			}
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	dir, err := os.MkdirTemp("/var/tmp", "store-bench-") // A disk: the temp directory may be memory.
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := Open(b.Context(), filepath.Join(dir, "db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for name, row := range map[string]Sandbox{"synced": sample("i1", "paused"), "lazy": {ID: "i2", State: "running", Spec: "{}"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := s.Sandboxes.Put(b.Context(), &row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

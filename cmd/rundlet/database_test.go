package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
)

// saved gives a state directory what a driver has saved in it.
func saved(t *testing.T, l layout.Layout) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(l.DriverState("gvisor"), "snapshots", "i1", "s1"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestUserDataOutlivesAnEmptyDatabase(t *testing.T) {
	used := func(t *testing.T, l layout.Layout) {
		db, err := store.Open(t.Context(), l.Database())
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Setting(t.Context(), "token_secret", func() ([]byte, error) { return []byte("x"), nil }); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		database func(*testing.T, layout.Layout)
		files    bool
		refused  string
	}{
		"a first start":             {func(*testing.T, layout.Layout) {}, false, ""},
		"a start as any":            {used, true, ""},
		"none beside saved files":   {func(*testing.T, layout.Layout) {}, true, "there is no database"},
		"a file of no bytes":        {func(t *testing.T, l layout.Layout) { write(t, l.Database(), "") }, true, "empty file"},
		"a file of none of our own": {func(t *testing.T, l layout.Layout) { write(t, l.Database(), strings.Repeat("x", 8192)) }, true, "damaged"},
		"only keys": {func(t *testing.T, l layout.Layout) {
			must(t, "keys", "create")
		}, true, "the database is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			l := home(t)
			if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			c.database(t, l)
			if c.files {
				saved(t, l)
			}
			before := names(t, l.StateDir)
			err := refuseEmptyDatabase(t.Context(), l)
			if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v, want %q", err, c.refused)
			}
			if _, err := os.Stat(filepath.Join(l.DriverState("gvisor"), "snapshots", "i1", "s1")); c.files && err != nil {
				t.Error(err)
			}
			if after := names(t, l.StateDir); after != before {
				t.Errorf("before %s, after %s", before, after)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBackupAndRestoreOnTheCommandLine(t *testing.T) {
	l := home(t)
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := cli(t, "backup", file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a database: %v", err)
	}
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Setting(t.Context(), "token_secret", func() ([]byte, error) { return []byte("x"), nil }); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	must(t, "keys", "create", "--name", "before")
	if out := must(t, "backup", file); !strings.Contains(out, file) || !strings.Contains(out, " bytes") {
		t.Errorf("%q", out)
	}
	if _, err := cli(t, "backup", file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	if out := decode[map[string]any](t, must(t, "backup", "--force", "--json", file)); out["bytes"].(float64) <= 0 {
		t.Errorf("%v", out)
	}
	must(t, "keys", "create", "--name", "after")
	db.Close()

	unlock, err := lockState(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli(t, "restore", file); err == nil || !strings.Contains(err.Error(), "another rundlet daemon") {
		t.Errorf("under a daemon: %v", err)
	}
	unlock()
	out := decode[map[string]string](t, must(t, "restore", "--json", file))
	if list := must(t, "keys", "ls"); !strings.Contains(list, "before") || strings.Contains(list, "after") {
		t.Errorf("keys after the restore:\n%s", list)
	}
	if _, err := os.Stat(out["former"]); err != nil {
		t.Errorf("the former database: %v", err)
	}
}

// What reads the database of another version's daemon leaves it as it is.
func TestCommandsThatReadDoNotMigrate(t *testing.T) {
	l := home(t)
	key := decode[map[string]string](t, must(t, "env", "--json"))["E2B_API_KEY"]
	before, err := os.ReadFile(l.Database())
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"keys", "ls"}, {"sandbox", "ls", "--killed"}, {"env"}, {"orphan", "ls"}} {
		must(t, command...)
	}
	if after, err := os.ReadFile(l.Database()); err != nil || string(after) != string(before) {
		t.Errorf("the database was changed, %v", err)
	}
	if again := decode[map[string]string](t, must(t, "env", "--json"))["E2B_API_KEY"]; again != key {
		t.Errorf("another key: %s, %s", key, again)
	}
}

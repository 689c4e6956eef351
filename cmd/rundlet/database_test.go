package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

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
	if _, err := db.Settings.GetOrMake(t.Context(), "token_secret", func() ([]byte, error) { return []byte("x"), nil }); err != nil {
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

	unlock, err := statedir.Lock(t.Context(), l)
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

// A newer program may keep elsewhere what an older command would write here, or copy.
func TestCommandsRefuseANewerStateDirectory(t *testing.T) {
	l := home(t)
	id := decode[map[string]string](t, must(t, "--json", "keys", "create"))["id"]
	if _, err := cli(t, "backup", filepath.Join(t.TempDir(), "backup")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(l.Database())
	if err := errors.Join(err, os.WriteFile(filepath.Join(l.StateDir, "format"), []byte("2\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	for _, command := range [][]string{{"keys", "ls"}, {"keys", "create"}, {"keys", "rm", id}, {"backup", file}, {"env"},
		{"orphan", "ls"}, {"orphan", "rm", "x"}, {"sandbox", "ls", "--killed"}} {
		_, err := cli(t, command...)
		var newer *format.NewerError
		if !errors.As(err, &newer) || newer.Found != 2 || newer.Known != statedir.Format {
			t.Errorf("rundlet %q: %v", command, err)
		}
	}
	if after, err := os.ReadFile(l.Database()); err != nil || string(after) != string(before) {
		t.Errorf("the database was changed, %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a backup: %v", err)
	}
}

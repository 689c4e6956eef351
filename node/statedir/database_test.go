package statedir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
)

// saved gives a state directory what a driver has saved in it.
func saved(t *testing.T, l layout.Layout) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(l.DriverState("any"), "snapshots", "i1", "s1"), 0o700); err != nil {
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
		if _, err := db.Settings.GetOrMake(t.Context(), "token_secret", func() ([]byte, error) { return []byte("x"), nil }); err != nil {
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
			db, err := store.Open(t.Context(), l.Database())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Keys.Add(t.Context(), store.Key{ID: "k1", Hash: []byte("x"), CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}, true, "the database is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			l := dirs(t)
			c.database(t, l)
			if c.files {
				saved(t, l)
			}
			before := names(t, l.StateDir)
			err := CheckDatabase(t.Context(), l)
			if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v, want %q", err, c.refused)
			}
			if _, err := os.Stat(filepath.Join(l.DriverState("any"), "snapshots", "i1", "s1")); c.files && err != nil {
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

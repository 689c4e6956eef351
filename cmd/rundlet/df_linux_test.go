package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/node/space"
)

func TestDf(t *testing.T) {
	dirs := home(t)
	before := decode[space.Report](t, must(t, "df", "--json"))
	if err := os.WriteFile(filepath.Join(dirs.StateDir, "x"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	after := decode[space.Report](t, must(t, "df", "--json"))
	if grown := after.Bytes - before.Bytes; grown < 1<<20 || grown > 2<<20 || after.FloorBytes <= 0 || after.StateDir != dirs.StateDir {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if _, err := os.Stat(dirs.Database()); err == nil {
		t.Error("df made a database")
	}
	table := must(t, "df")
	for _, want := range []string{"paused sandboxes ", "layers ", "total ", "are free"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

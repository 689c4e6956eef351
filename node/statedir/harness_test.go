package statedir

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
)

// dirs returns directories of a test's own, which exist.
func dirs(t *testing.T) layout.Layout {
	t.Helper()
	root := t.TempDir()
	l := layout.Layout{StateDir: filepath.Join(root, "state"), CacheDir: filepath.Join(root, "cache"), RunDir: filepath.Join(root, "run")}
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return l
}

// names are the files in a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

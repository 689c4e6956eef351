package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/vm"
)

// What a living process owns is not cleared away, nor is anything that is not
// a run directory of "rundlet run".
func TestSweepLeavesTheLivingAlone(t *testing.T) {
	l := dirs(t)
	id := statedir.NewEphemeral()
	unlock, err := statedir.LockInstance(l, id)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, name := range []string{id + "/net", "dabcdef", "x12345", "x1234567", "other"} {
		if err := os.MkdirAll(filepath.Join(l.RunDir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, l.RunDir)
	var log strings.Builder
	SweepEphemeral(t.Context(), vm.Driver{}, l, slog.New(slog.NewTextHandler(&log, nil)))
	if after := names(t, l.RunDir); after != before || !strings.Contains(after, id) {
		t.Errorf("before %s, after %s", before, after)
	}
	if _, err := os.Stat(filepath.Join(l.RunDir, id, "net")); err != nil || log.Len() > 0 {
		t.Errorf("%v, log %s", err, log.String())
	}
}

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

//go:build linux

package catalogue

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWhatABuildHoldsIsNotPruned(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	entry, err := c.Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, entry.File)
	unneeded := func(keep []string, named bool, want ...string) {
		t.Helper()
		if got, err := c.Unneeded(keep, named); err != nil || !slices.Equal(got, want) {
			t.Errorf("unneeded are %q, %v; want %q", got, err, want)
		}
	}
	unneeded(nil, false)
	unneeded(nil, true, path)
	unneeded([]string{"/elsewhere/" + entry.File}, true)
	release, err := open(t, cfg).Hold(path) // As another process does.
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Hold(entry.File)
	if err != nil {
		t.Fatal(err)
	}
	release()
	unneeded(nil, true)
	if pruned, err := c.PruneAll(nil); err != nil || pruned != (Pruned{}) {
		t.Errorf("pruned %+v, %v", pruned, err)
	}
	if _, err := c.Find("app"); err != nil {
		t.Error(err)
	}
	second()
	if pruned, err := c.PruneAll([]string{path}); err != nil || pruned != (Pruned{}) {
		t.Errorf("pruned %+v, %v", pruned, err)
	}
	if pruned, err := c.PruneAll(nil); err != nil || pruned != (Pruned{1, entry.Bytes}) {
		t.Errorf("pruned %+v, %v", pruned, err)
	}
	if _, err := c.Find("app"); !errors.Is(err, ErrNotFound) {
		t.Errorf("find: %v", err)
	}
	if names, err := os.ReadDir(filepath.Join(cfg.Dir, namesDir)); err != nil || len(names) > 0 {
		t.Errorf("names %v, %v", names, err)
	}
	if _, err := c.Hold(path); !errors.Is(err, ErrNotFound) {
		t.Errorf("hold: %v", err)
	}
	tidy(t, cfg)
}

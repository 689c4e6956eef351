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
	prune := func(keep []string, named, want bool) {
		t.Helper()
		if removed, err := c.PruneOne(path, keep, named); err != nil || removed != want {
			t.Errorf("removed: %v, %v", removed, err)
		}
	}
	prune(nil, true, false)
	if _, err := c.Find("app"); err != nil {
		t.Error(err)
	}
	second()
	prune([]string{path}, true, false)
	prune(nil, false, false)
	if removed, err := c.PruneOne("other", nil, true); err != nil || removed {
		t.Errorf("removed: %v, %v", removed, err)
	}
	prune(nil, true, true)
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

//go:build linux

package catalogue

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// An image is removed only if it is known that it has no name.
func TestImagesStayWhenNamesCannotBeListed(t *testing.T) {
	cfg := newConfig(t)
	entry, err := open(t, cfg).Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	names, away := filepath.Join(cfg.Dir, namesDir), filepath.Join(cfg.Dir, "away")
	for what, spoil := range map[string]func() error{
		"not a directory": func() error { return os.WriteFile(names, nil, 0o600) },
		"gone":            func() error { return nil },
		"half a record": func() error {
			return errors.Join(os.Mkdir(names, 0o700), os.WriteFile(filepath.Join(names, "x.json"), []byte("{"), 0o600))
		},
	} {
		c := open(t, cfg)
		if err := errors.Join(os.Rename(names, away), spoil()); err != nil {
			t.Fatal(err)
		}
		if freed, err := c.Prune(keeping()); err == nil || freed != 0 {
			t.Errorf("%s: pruned %d, %v", what, freed, err)
		}
		if list, err := c.List(); err == nil {
			t.Errorf("%s: list %+v", what, list)
		}
		if err := errors.Join(os.RemoveAll(names), os.Rename(away, names)); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := open(t, cfg).Find("app"); err != nil || found.File != entry.File {
		t.Errorf("found %+v, %v", found, err)
	}
}

// The tree of one image at a time is in memory; a call that waits for its turn can be canceled.
func TestOneTreeAtATime(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	ctx, cancel := context.WithCancelCause(t.Context())
	c.tree <- struct{}{} // As another call has it.
	if _, err := c.Load(ctx, archiveOf(t, imageOf(t, "content"), "app"), "", func(Progress) { cancel(nil) }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	tidy(t, cfg)
	<-c.tree
	for range 2 { // Each gives its turn back.
		if _, err := c.Load(t.Context(), archiveOf(t, imageOf(t, t.TempDir()), "app"), "", nil); err != nil {
			t.Error(err)
		}
	}
}

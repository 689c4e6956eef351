//go:build linux

package catalogue

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

func keeping(paths ...string) Keep { return func() ([]string, error) { return paths, nil } }

// A build lets go of its image when a row names it. What needs images is asked after that, and not before: no build comes in between.
func TestWhatIsNeededIsAskedWhenNoBuildHasTheImage(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	entry, err := c.Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, entry.File)
	if err := c.Remove("app"); err != nil {
		t.Fatal(err)
	}
	var rows []string
	_, release, err := open(t, cfg).Image(t.Context(), entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	needed := func() ([]string, error) {
		asked++
		if f, err := lockImage(path, unix.LOCK_SH); !errors.Is(err, flock.ErrHeld) {
			f.Close()
			t.Errorf("a build could begin with the image: %v", err)
		}
		return rows, nil
	}
	later := open(t, cfg)
	if removed, err := later.PruneOne(path, needed, true); err != nil || removed || asked > 0 {
		t.Errorf("an image that a build holds: removed %v, asked %d, %v", removed, asked, err)
	}
	rows = append(rows, path) // It has saved something,
	release()                 // and ends.
	if removed, err := later.PruneOne(path, needed, true); err != nil || removed || asked != 1 {
		t.Errorf("an image that is needed: removed %v, asked %d, %v", removed, asked, err)
	}
	if freed, err := later.Prune(needed); err != nil || freed != 0 || asked != 2 {
		t.Errorf("freed %d, asked %d, %v", freed, asked, err)
	}
	broken := errors.New("broken")
	if freed, err := later.Prune(func() ([]string, error) { return nil, broken }); !errors.Is(err, broken) || freed != 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if _, release, err := c.Image(t.Context(), entry.Digest); err != nil {
		t.Errorf("it stays locked: %v", err)
	} else {
		release()
	}
}

// A build holds the root of a template that may be deleted meanwhile.
func TestARootIsHeldByItsPath(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	entry, err := c.Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, AdoptedFile("1"))
	if err := errors.Join(os.Rename(filepath.Join(cfg.Dir, entry.File), path), writeJSON(c.infoPath(AdoptedFile("1")), Info{Format: recordFormat, File: AdoptedFile("1")})); err != nil {
		t.Fatal(err)
	}
	release, err := c.Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, cfg).PruneFolded(keeping()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("it is removed while a build has it: %v", err)
	}
	release()
	if err := c.PruneFolded(keeping()); err != nil {
		t.Error(err)
	}
	if release, err := c.Hold(path); !errors.Is(err, ErrNotFound) || release != nil {
		t.Errorf("a root that is gone: %v", err)
	}
	if release, err := c.Hold("/elsewhere/root.erofs"); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

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
	_, release, err := open(t, cfg).Image(t.Context(), "app") // As another process does.
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := c.Image(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	release()
	unneeded(nil, true)
	prune := func(keep []string, named, want bool) {
		t.Helper()
		if removed, err := c.PruneOne(path, keeping(keep...), named); err != nil || removed != want {
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
	if removed, err := c.PruneOne("other", keeping(), true); err != nil || removed {
		t.Errorf("removed: %v, %v", removed, err)
	}
	prune(nil, true, true)
	if _, err := c.Find("app"); !errors.Is(err, ErrNotFound) {
		t.Errorf("find: %v", err)
	}
	if names, err := os.ReadDir(filepath.Join(cfg.Dir, namesDir)); err != nil || len(names) > 0 {
		t.Errorf("names %v, %v", names, err)
	}
	if _, _, err := c.Image(t.Context(), entry.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("image: %v", err)
	}
	if _, _, err := c.Adopt("", "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("adopt: %v", err)
	}
	tidy(t, cfg)
}

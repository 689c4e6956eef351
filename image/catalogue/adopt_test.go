//go:build linux

package catalogue

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// The root of a template has no name, and no row names it until the template is installed. A prune meanwhile must not take it.
func TestAPruneLeavesARootThatIsAdopted(t *testing.T) {
	cfg := newConfig(t)
	c := open(t, cfg)
	entry, err := c.Load(t.Context(), archiveOf(t, imageOf(t, "content"), "app"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(cfg.Dir, entry.File))
	if err != nil {
		t.Fatal(err)
	}
	sum, came := strings.Repeat("0", 64), filepath.Join(t.TempDir(), "root.erofs")
	if _, _, err := c.Adopt("", sum); !errors.Is(err, ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := os.WriteFile(came, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Adopt(came, sum); err == nil {
		t.Error("what is not an image is adopted")
	}
	stop := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		pruner := open(t, cfg)
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if _, err := pruner.Prune(keeping()); err != nil {
				return err
			}
		}
	})
	for range 50 {
		if err := os.WriteFile(came, content, 0o600); err != nil {
			t.Fatal(err)
		}
		root, release, err := c.Adopt(came, sum)
		if err != nil {
			t.Error(err)
			break
		}
		again, second, err := c.Adopt("", sum)
		if err != nil || again != root || root != filepath.Join(cfg.Dir, AdoptedFile(sum)) {
			t.Errorf("%s, then %s, %v", root, again, err)
			break
		}
		release()
		if _, err := os.Stat(root); err != nil {
			t.Error(err)
		}
		second()
	}
	close(stop)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := c.Prune(keeping()); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Adopt("", sum); !errors.Is(err, ErrNotFound) {
		t.Errorf("after a prune: %v", err)
	}
}

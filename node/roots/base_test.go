//go:build linux

package roots

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/layout"
)

// A root that a snapshot needs is kept, whatever path its row has of it.
func TestUserDataOutlivesAPruneByAnotherPath(t *testing.T) {
	dirs := layout.Layout{StateDir: t.TempDir()}
	for _, id := range []string{"needed", "former"} {
		if err := os.MkdirAll(filepath.Join(dirs.Base(), id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := pruneBases(dirs, []string{"/another/templates/base/needed"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dirs.Base(), "needed")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dirs.Base(), "former")); !os.IsNotExist(err) {
		t.Errorf("an unneeded image: %v", err)
	}
}

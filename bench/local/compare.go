package local

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/bench/compare"
	"github.com/rundlet/rundlet/layout"
)

// Compare compares builds with temporary directories below those of an installation. One
// that is named by no path is this program.
func Compare(ctx context.Context, dirs layout.Layout, c compare.Config) (r compare.Report, err error) {
	unlock, err := lock(dirs)
	if err != nil {
		return r, err
	}
	defer unlock()
	for _, b := range []*compare.Build{&c.Base, &c.New} {
		if b.Path == "" {
			b.Path, err = os.Executable()
		} else {
			b.Path, err = filepath.Abs(b.Path) // Not one of $PATH.
		}
		if err != nil {
			return r, err
		}
	}
	if err := dirs.Make(slog.Default()); err != nil {
		return r, err
	}
	c.StateDir = filepath.Join(dirs.StateDir, "compare")
	if err := os.RemoveAll(c.StateDir); err != nil { // Of one that was killed; its daemons ended with it.
		return r, err
	}
	// Another state directory, and so another lock, may have the same run directory.
	if c.RunDir, err = os.MkdirTemp(dirs.RunDir, "compare-"); err != nil {
		return r, err
	}
	return compare.Run(ctx, c)
}

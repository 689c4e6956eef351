//go:build linux

package prune

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/space"
)

func TestPruneWithoutANode(t *testing.T) {
	dir := t.TempDir()
	dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
	if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if removed, err := Do(t.Context(), Config{Dirs: dirs, Layers: true, Log: slog.New(slog.DiscardHandler)}); err != nil || len(removed) > 0 {
		t.Errorf("%v, %v", removed, err)
	}
	if _, err := os.Stat(dirs.Database()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it made a database: %v", err)
	}
}

func TestOnlyWhatIsAskedForIsRemoved(t *testing.T) {
	all := []space.Grade{space.Unneeded, space.Layer, space.Named, space.Upload, space.Needed}
	for _, c := range []struct {
		cfg  Config
		want []space.Grade
	}{
		{Config{}, all[:1]}, {Config{Layers: true}, all[:2]}, {Config{Layers: true, Images: true}, all[:3]}, {Config{Layers: true, Images: true, Uploads: true}, all[:4]},
	} {
		for i, grade := range all {
			if got := c.cfg.removes(space.Object{Grade: grade}); got != (i < len(c.want)) {
				t.Errorf("%+v removes grade %d: %v", c.cfg, grade, got)
			}
		}
	}
}

//go:build linux

package prune

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/store"
)

// Between the survey and the removal of an image a build can save something in it, a client name it, and an orphan come up.
func TestNeededImages(t *testing.T) {
	top := t.TempDir() // The paths of sockets are short.
	for name, tt := range map[string]struct {
		between func(t *testing.T, p *beside.Parts, image string)
		images  bool
		removed bool
	}{
		"nothing": {func(*testing.T, *beside.Parts, string) {}, false, true},
		"a claim": {func(t *testing.T, p *beside.Parts, image string) {
			row := store.Snapshot{ID: "c", Instance: "i", Kind: claim.KindTemplate, State: store.SnapshotReady, VMID: "v", Snapshot: "s", Spec: `{"rootfs":"` + image + `"}`, CreatedAt: time.Now()}
			if err := p.Store.Snapshots.Put(t.Context(), &row); err != nil {
				t.Fatal(err)
			}
		}, true, false},
		"an orphan": {func(t *testing.T, p *beside.Parts, _ string) {
			if _, err := p.Store.Orphans.SetAside(t.Context(), store.OrphanSnapshot, "v", "s", time.Now()); err != nil {
				t.Fatal(err)
			}
		}, true, false},
		"a name":                  {named, false, false},
		"a name that may go, too": {named, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(top, "")
			if err != nil {
				t.Fatal(err)
			}
			dirs := layout.Layout{StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), RunDir: filepath.Join(dir, "run")}
			if err := dirs.Make(slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			parts, err := beside.Open(t.Context(), dirs, "")
			if err != nil {
				t.Fatal(err)
			}
			defer parts.Close()
			if _, err := catalogue.Open(catalogue.Config{Dir: dirs.Images()}); err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(dirs.Images(), "a.erofs")
			if err := os.WriteFile(image, []byte("content"), 0o600); err != nil {
				t.Fatal(err)
			}
			tt.between(t, parts, image)
			p := &pruner{Parts: parts, cfg: Config{Dirs: dirs, Images: tt.images}}
			removed, err := p.image(t.Context(), space.Object{Kind: space.Images, Paths: []string{image}})
			_, stat := os.Stat(image)
			if err != nil || removed != tt.removed || os.IsNotExist(stat) != tt.removed {
				t.Errorf("removed %v, %v; %v", removed, err, stat)
			}
		})
	}
}

func named(t *testing.T, p *beside.Parts, image string) {
	t.Helper()
	text, err := json.Marshal(map[string]string{"reference": "docker.io/library/a:1", "file": filepath.Base(image)})
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Dirs.Images(), "names", "a.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

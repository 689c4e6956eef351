//go:build linux

package catalogue

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	upstream "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/oci/registry"
)

func TestManyPullsAreOneDownload(t *testing.T) {
	image := imageOf(t, "content")
	files, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	isLayer := map[string]bool{}
	for _, layer := range files {
		digest, err := layer.Digest()
		if err != nil {
			t.Fatal(err)
		}
		isLayer[digest.String()] = true
	}
	var mu sync.Mutex
	downloads := map[string]int{}
	inner := upstream.New(upstream.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if base := filepath.Base(r.URL.Path); r.Method == http.MethodGet && isLayer[base] {
			mu.Lock()
			downloads[base]++
			mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	reference := strings.TrimPrefix(server.URL, "http://") + "/app:1"
	tag, err := name.NewTag(reference)
	if err == nil {
		err = remote.Write(tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := newConfig(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if entry, err := open(t, cfg).Pull(t.Context(), reference, registry.Config{}, nil); err != nil || entry.Reference != reference {
				t.Errorf("%+v, %v", entry, err)
			}
		})
	}
	group.Wait()
	for digest, n := range downloads {
		if n != 1 {
			t.Errorf("%s was downloaded %d times", digest, n)
		}
	}
	if images, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+erofs.Suffix)); err != nil || len(images) != 1 || len(downloads) != 2 {
		t.Errorf("images %v after %v, %v", images, downloads, err)
	}
	// The same image from an archive is the same file.
	c := open(t, cfg)
	loaded, err := c.Load(t.Context(), archiveOf(t, image, "other"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if pulled, err := c.Find(reference); err != nil || pulled.File != loaded.File || pulled.Manifest == "" {
		t.Errorf("pulled %+v, loaded %+v, %v", pulled, loaded, err)
	}
	tidy(t, cfg)
}

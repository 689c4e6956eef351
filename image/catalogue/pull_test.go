//go:build linux

package catalogue

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
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
			entry, release, err := open(t, cfg).Pull(t.Context(), reference, registry.Config{}, nil)
			if err != nil || entry.Reference != reference {
				t.Errorf("%+v, %v", entry, err)
				return
			}
			release()
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

// An image that a build begins with is named by no saved row until the build has saved something.
func TestPruneKeepsWhatIsHeldSinceItsPull(t *testing.T) {
	server := httptest.NewServer(upstream.New(upstream.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	cfg := newConfig(t)
	c := open(t, cfg)
	var used []Entry
	var releases []func()
	for what, get := range map[string]func(reference string) (Entry, func(), error){
		"pulled": func(reference string) (Entry, func(), error) {
			return c.PullUnnamed(t.Context(), reference, registry.Config{}, nil)
		},
		"found": func(reference string) (Entry, func(), error) {
			entry, pulled, err := open(t, cfg).Pull(t.Context(), reference, registry.Config{}, nil)
			if err != nil {
				return entry, pulled, err
			}
			_, release, err := c.Image(t.Context(), reference)
			pulled()
			return entry, release, errors.Join(err, c.Remove(reference))
		},
		"there": func(reference string) (Entry, func(), error) {
			if _, release, err := c.PullUnnamed(t.Context(), reference, registry.Config{}, nil); err != nil {
				return Entry{}, nil, err
			} else {
				release()
			}
			return open(t, cfg).PullUnnamed(t.Context(), reference, registry.Config{}, nil)
		},
	} {
		tag, err := name.NewTag(host + "/" + what)
		if err == nil {
			err = remote.Write(tag, imageOf(t, what))
		}
		if err != nil {
			t.Fatal(err)
		}
		entry, release, err := get(tag.String())
		if err != nil {
			t.Fatal(what, err)
		}
		used, releases = append(used, entry), append(releases, release)
	}
	for _, pruner := range []*Catalogue{c, open(t, cfg)} {
		if freed, err := pruner.Prune(keeping()); err != nil || freed != 0 {
			t.Errorf("pruned %d bytes of images in use, %v", freed, err)
		}
	}
	for i, entry := range used {
		if _, err := os.Stat(c.Root(entry).Spec.Rootfs); err != nil {
			t.Error(err)
		}
		releases[i]()
	}
	if freed, err := c.Prune(keeping()); err != nil || freed != used[0].Bytes+used[1].Bytes+used[2].Bytes {
		t.Errorf("pruned %d bytes of images that builds had, %v", freed, err)
	}
}

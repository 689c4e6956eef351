//go:build linux

package catalogue

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	upstream "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/image/oci/registry"
)

// large is an image with so many bytes of zeros in its files, in two layers.
func large(t *testing.T, bytes int) v1.Image {
	t.Helper()
	a, errA := ocitest.Layer(ocitest.Regular("a", strings.Repeat("\x00", bytes/2)))
	b, errB := ocitest.Layer(ocitest.Regular("b", strings.Repeat("\x00", bytes/2)))
	image, err := ocitest.Image(v1.Config{}, a, b)
	if err = errors.Join(errA, errB, err); err != nil {
		t.Fatal(err)
	}
	return image
}

const every = 64 << 10

// A disk that fills up while an image is made, by whatever, ends that, and nothing is left of it.
func TestAnImageStopsBeforeTheDiskIsFull(t *testing.T) {
	file := archiveOf(t, large(t, 6*every), "app")
	for name, c := range map[string]struct {
		room   func(asked int64) int64
		asked  int64 // at least
		reason string
	}{
		"full before":              {func(int64) int64 { return 0 }, 1, "the disk is too full"},
		"no room for its layers":   {func(int64) int64 { return 8 * every }, 2, "more than 262144 bytes"},
		"full during its layers":   {func(asked int64) int64 { return 40 * every * max(0, 5-asked) }, 5, "the disk is too full"},
		"full at the image":        {func(asked int64) int64 { return 40 * every * max(0, 10-asked) }, 10, "the disk is too full"},
		"full during the image":    {func(asked int64) int64 { return 40 * every * max(0, 11-asked) }, 11, "the disk is too full"},
		"no room for its image":    {func(asked int64) int64 { return 40 * every >> (8 * (max(asked, 9) - 9)) }, 10, "the image is too large"},
		"what cannot be asked for": {func(int64) int64 { return -1 }, 1, "the disk is too full"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t)
			cfg.Limits.AskEvery = every
			var asked atomic.Int64
			cfg.Room = func() (int64, error) { return c.room(asked.Add(1)), nil }
			cat := open(t, cfg)
			_, err := cat.Load(t.Context(), file, "", nil)
			if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), c.reason) || asked.Load() < c.asked {
				t.Errorf("after %d questions: %v", asked.Load(), err)
			}
			if list, err := cat.List(); err != nil || len(list) > 0 {
				t.Errorf("list %v, %v", list, err)
			}
			tidy(t, cfg)
		})
	}
}

// The manifest says how large the layers are at least.
func TestAPullThatWouldFillTheDiskReadsNoLayer(t *testing.T) {
	var content strings.Builder
	for i := range 200 {
		fmt.Fprintf(&content, "%x", sha256.Sum256([]byte{byte(i)}))
	}
	image := imageOf(t, content.String())
	inner, blobs := upstream.New(upstream.Logger(log.New(io.Discard, "", 0))), atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/app")
	if err == nil {
		err = remote.Write(tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
	blobs.Store(0)
	cfg := newConfig(t)
	cfg.Room = func() (int64, error) { return 1000, nil }
	if _, _, err := open(t, cfg).Pull(t.Context(), tag.String(), registry.Config{}, nil); !errors.Is(err, ErrFull) || blobs.Load() != 1 {
		t.Errorf("%v after %d blobs, of which one is the configuration", err, blobs.Load())
	}
	cfg.Room = nil
	cfg.Limits = layers.Limits{Bytes: 10}
	if _, _, err := open(t, cfg).Pull(t.Context(), tag.String(), registry.Config{}, nil); !errors.Is(err, layers.ErrTooLarge) || errors.Is(err, ErrFull) || blobs.Load() != 2 {
		t.Errorf("%v after %d blobs", err, blobs.Load())
	}
	tidy(t, cfg)
}

// Clients pull images until all of them together have a bound.
func TestAllImagesTogetherHaveABound(t *testing.T) {
	cfg := newConfig(t)
	first, err := open(t, cfg).Load(t.Context(), archiveOf(t, imageOf(t, "first"), "first"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	second := archiveOf(t, imageOf(t, "second"), "second")
	for name, c := range map[string]struct {
		most   int64
		reason string
	}{"used up": {first.Bytes, "remove some"}, "nearly": {first.Bytes + 20000, "the image is too large"}} {
		cfg.MaxBytes = c.most
		if _, err := open(t, cfg).Load(t.Context(), second, "", nil); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if again, err := open(t, cfg).Load(t.Context(), archiveOf(t, imageOf(t, "first"), "again"), "", nil); err != nil || again.File != first.File {
		t.Errorf("one that is there: %+v, %v", again, err)
	}
	cfg.MaxBytes = 3 * first.Bytes
	if _, err := open(t, cfg).Load(t.Context(), second, "", nil); err != nil {
		t.Error(err)
	}
	tidy(t, cfg)
}

// A small compressed archive does not fill the disk either.
func TestACompressedArchiveTakesItsShareOfTheRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bomb.tar.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	out := tar.NewWriter(zipped)
	err = out.WriteHeader(&tar.Header{Name: "x", Size: 64 << 20, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = out.Write(make([]byte, 64<<20))
	}
	if err = errors.Join(err, out.Close(), zipped.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	cfg := newConfig(t)
	cfg.Room = func() (int64, error) { return 48 << 20, nil }
	if _, err := open(t, cfg).Load(t.Context(), file, "", nil); !errors.Is(err, layers.ErrTooLarge) || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Errorf("error %v", err)
	}
	tidy(t, cfg)
}

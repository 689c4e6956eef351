//go:build linux

package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	upstream "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/internal/retry"
)

// shortIdle is the idle time of tests that wait for it.
const shortIdle = 100 * time.Millisecond

// soon are pauses of tests that cut downloads.
var soon = retry.Pauses{First: time.Millisecond, Most: time.Millisecond}

// fixture is a registry with one image, whose answers a test can change.
type fixture struct {
	*httptest.Server
	inner http.Handler
	host  string
	image v1.Image
	// before, if it returns true, has answered a request.
	before func(w http.ResponseWriter, r *http.Request) bool
	blobs  atomic.Int32
}

// served is the image of every registry: the race detector makes it slow.
var served = sync.OnceValues(func() (v1.Image, error) {
	big, errA := ocitest.Layer(ocitest.Regular("big", noise(1<<20)))
	small, errB := ocitest.Layer(ocitest.Regular("small", "x"))
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	return ocitest.Image(v1.Config{User: "me"}, big, small)
})

func serve(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{}
	f.inner = upstream.New(upstream.Logger(log.New(io.Discard, "", 0)))
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			f.blobs.Add(1)
		}
		if f.before == nil || !f.before(w, r) {
			f.inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	f.host = strings.TrimPrefix(f.URL, "http://")
	var err error
	if f.image, err = served(); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(f.host + "/me/app:1")
	if err == nil {
		err = remote.Write(tag, f.image)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.blobs.Store(0)
	return f
}

// noise is text that compression does not make much smaller.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; x = x*1664525 + 1013904223 {
		fmt.Fprintf(&b, "%08x", x)
	}
	return b.String()
}

// pull reads an image and its layers, and checks that nothing is left.
func pull(ctx context.Context, t testing.TB, reference string, cfg Config) (*oci.Image, error) {
	t.Helper()
	image, err := Image(ctx, reference, cfg)
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	spool := layers.NewSpool(dir, layers.Limits{Bytes: 10 << 20})
	for _, layer := range image.Layers {
		f, err := spool.Get(ctx, layer)
		if left, dirErr := os.ReadDir(dir); dirErr != nil || len(left) > 0 {
			t.Errorf("left is %v, %v", left, dirErr)
		}
		if err != nil {
			return nil, err
		}
		f.Close()
	}
	return image, nil
}

func TestPull(t *testing.T) {
	f := serve(t)
	digest, err := f.image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"/me/app:1", "/me/app@" + digest.String(), "/me/app:other@" + digest.String()} {
		image, err := pull(t.Context(), t, f.host+ref, Config{})
		if err != nil || image.Manifest != digest || image.File.Config.User != "me" || len(image.Layers) != 2 {
			t.Errorf("%s: %+v, %v", ref, image, err)
		}
	}
	for ref, want := range map[string]string{"/me/none:1": "NAME_UNKNOWN", "/me/app:2": "MANIFEST_UNKNOWN", "/me/app@sha256:" + strings.Repeat("0", 64): "MANIFEST_UNKNOWN"} {
		if _, err := pull(t.Context(), t, f.host+ref, Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
	if _, err := pull(t.Context(), t, f.host+"/me/app:1", Config{PublicOnly: true}); !errors.Is(err, ErrPrivate) {
		t.Errorf("a reference of a client leads to loopback: %v", err)
	}
}

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	for name, ranges := range map[string]bool{"with ranges": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			f := serve(t)
			cuts := 0
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				asked := r.Header.Get("Range")
				r.Header.Del("Range")
				whole := httptest.NewRecorder()
				f.inner.ServeHTTP(whole, r)
				out := whole
				if asked != "" && ranges {
					r.Header.Set("Range", asked)
					out = httptest.NewRecorder()
					http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(whole.Body.Bytes()))
				}
				maps.Copy(w.Header(), out.Header())
				w.WriteHeader(out.Code)
				body := out.Body.Bytes()
				if whole.Body.Len() < 10_000 || cuts == 3 { // Not the large layer, or enough.
					_, err := w.Write(body)
					return err == nil
				}
				cuts++
				if _, err := w.Write(body[:len(body)/3]); err != nil {
					t.Log(err)
				}
				panic(http.ErrAbortHandler)
			}
			if _, err := pull(t.Context(), t, f.host+"/me/app:1", Config{pauses: soon}); err != nil || cuts != 3 {
				t.Errorf("%v after %d cuts", err, cuts)
			}
		})
	}
}

//go:build linux

package roots

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// pushed returns the name of an image with a file and variables in a registry of the test.
func pushed(t *testing.T, content string, env ...string) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	layer, errA := ocitest.Layer(ocitest.Regular("content", content))
	image, errB := ocitest.Image(v1.Config{Env: env}, layer)
	ref, errC := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/test/small:1")
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// opened returns the roots of a new node whose base is of a container image.
func opened(t *testing.T, container string) *Roots {
	t.Helper()
	state := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(state, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := Open(t.Context(), Config{Dirs: layout.Layout{StateDir: state, CacheDir: t.TempDir()}, Store: db, BaseContainer: container, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A base whose image has lost its name stays as it is: it is not made anew, for which it would be pulled again. The image is held until
// the base is made.
func TestABaseStaysWithoutTheNameOfItsImage(t *testing.T) {
	of := pushed(t, "one")
	r := opened(t, of)
	ctx, made := context.WithCancel(t.Context())
	img, err := r.Base(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Stamp()
	if before == "" {
		t.Error("the image has no stamp")
	}
	if err := r.images.catalogue.Remove(of); err != nil {
		t.Fatal(err)
	}
	if after := r.Stamp(); after != before {
		t.Errorf("the stamp is %q, and was %q", after, before)
	}
	unneeded := func() []string {
		t.Helper()
		files, err := r.images.catalogue.Unneeded(nil, false)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if found := unneeded(); len(found) != 0 {
		t.Errorf("%v can be removed while the base is made of it", found)
	}
	made()
	late := time.After(10 * time.Second)
	for len(unneeded()) == 0 { // It is let go in the background.
		select {
		case <-late:
			t.Fatalf("%s is held", img.Spec.Rootfs)
		case <-time.After(time.Millisecond):
		}
	}
}

// Programs have the variables of an image that no process can have left out, and a base is refused whose variables are too many.
func TestVariablesOfAnImageAreHostile(t *testing.T) {
	r := opened(t, pushed(t, "one", "LD_PRELOAD=/evil.so", "HOME=/elsewhere", "A=b=c", "LINES=one\ntwo", "=nameless", "bare", "NUL=a\x00b", "LATIN=\xe9", `QUOTE="'\`))
	img, err := r.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	for _, entry := range img.Spec.Env {
		if text, ok := strings.CutPrefix(entry, envd.VariablesName+"="); ok {
			err = json.Unmarshal([]byte(text), &got)
		}
	}
	want := map[string]string{"LD_PRELOAD": "/evil.so", "HOME": "/elsewhere", "A": "b=c", "LINES": "one\ntwo", "LATIN": "\ufffd", "QUOTE": `"'\`}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	r = opened(t, pushed(t, "one", "LONG="+strings.Repeat("x", 100<<10), "OTHER="+strings.Repeat("y", 100<<10)))
	if _, err := r.Base(t.Context()); err == nil || !strings.Contains(err.Error(), "variables") {
		t.Errorf("200 KiB of variables: %v", err)
	}
}

// Only the base of the image that the operator names stands for it; a node beside the daemon takes any.
func TestAStoredBaseIsOfTheImageThatIsNamed(t *testing.T) {
	r := opened(t, "example.test/app")
	for _, row := range []store.Template{
		{ID: "t1", Alias: "mine", Stamp: "gvisor v1 container:example.test/app=1.erofs {}", Spec: []byte(`{"Rootfs":"/mine"}`)},
		{ID: "t2", Alias: template.BaseAlias, Stamp: "gvisor v1 container:example.test/app2=2.erofs {}", Spec: []byte(`{"Rootfs":"/base"}`)},
	} {
		row.BuildID, row.VMID, row.Snapshot = row.ID, row.ID, "s"
		if err := r.cfg.Store.Templates.Put(t.Context(), &row); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"example.test/app": "", "example.test/app2": "/base", "": "/base", "example.test": ""} {
		img, found := storedContainer(t.Context(), r.cfg.Store, name)
		if found != (want != "") || img.Spec.Rootfs != want || found && img.Stamp != "container:example.test/app2=2.erofs" {
			t.Errorf("%q: %+v, %v", name, img, found)
		}
	}
}

// A create gets the reason why there is no base.
func TestARegistryThatIsGoneIsNamed(t *testing.T) {
	var prepare *sandbox.PrepareError
	if _, err := opened(t, "127.0.0.1:1/test/small:1").Base(t.Context()); !errors.As(err, &prepare) || !strings.Contains(prepare.Error(), "127.0.0.1:1/test/small:1") {
		t.Errorf("%v", err)
	}
}

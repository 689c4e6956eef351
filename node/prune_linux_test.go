package node_test

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/prune"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/sandbox"
)

// registryOf serves an image with a shell as test/minimal:1, and another one as test/other:1. Nodes of cfg get both as images of Docker Hub.
func registryOf(t *testing.T, cfg *node.Config) {
	t.Helper()
	files, err := ocitest.HostPrograms("sh", "cat", "ls", "id", "mkdir", "chown", "env", "sleep", "date", "rm")
	if err != nil {
		t.Fatal(err)
	}
	layer, errA := ocitest.Layer(append(files, ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"))...)
	extra, errB := ocitest.Layer(ocitest.Regular("data/kept", "kept\n"))
	minimal, errC := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin", "FROM_IMAGE=yes"}}, layer)
	other, errD := ocitest.Image(v1.Config{Env: []string{"PATH=/usr/bin:/bin"}}, layer, extra)
	if err := errors.Join(errA, errB, errC, errD); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0))))
	t.Cleanup(server.Close)
	for repository, image := range map[string]v1.Image{"/test/minimal:1": minimal, "/test/other:1": other} {
		ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + repository)
		if err == nil {
			err = remote.Write(ref, image)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg.Mirrors = map[string]string{"docker.io": server.URL}
	cfg.PrivateRegistries = []string{strings.TrimPrefix(server.URL, "http://")}
}

// Images of templates, snapshots and sandboxes stay; others go if that is asked for.
func TestPruneKeepsTheImagesThatAreNeeded(t *testing.T) {
	cfg := config(t)
	registryOf(t, &cfg)
	n := open(t, cfg)
	build(t, n, sandbox.TemplateRequest{Name: "mine"}, sandbox.Recipe{FromImage: "test/minimal:1", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"echo 1 >/tmp/one"}}}})
	build(t, n, sandbox.TemplateRequest{Name: "gone"}, sandbox.Recipe{FromImage: "test/other:1"})
	sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "gone", Timeout: time.Hour})
	if err == nil {
		err = n.Runtime.DeleteTemplate(t.Context(), "gone")
	}
	if err != nil {
		t.Fatal(err)
	}
	remove := func(cfg prune.Config, want ...prune.Removed) {
		t.Helper()
		cfg.Dirs, cfg.Log = n.Dirs, slog.New(slog.NewTextHandler(t.Output(), nil))
		pruned, err := prune.Do(t.Context(), cfg)
		same := len(pruned) == len(want)
		for i := range want {
			same = same && pruned[i].Kind == want[i].Kind && pruned[i].Count == want[i].Count && pruned[i].Bytes > 0
		}
		if err != nil || !same {
			t.Errorf("pruned %+v, %v; want %+v", pruned, err, want)
		}
	}
	images := func(want int) {
		t.Helper()
		if left, err := filepath.Glob(filepath.Join(n.Dirs.Images(), "*.erofs")); err != nil || len(left) != want {
			t.Errorf("%d images, %v; want %d", len(left), err, want)
		}
	}
	remove(prune.Config{Images: true}) // The sandbox has the root of the second.
	images(2)
	if err := n.Runtime.Kill(t.Context(), sb.ID); err != nil {
		t.Fatal(err)
	}
	remove(prune.Config{}) // It has a name.
	remove(prune.Config{Images: true, DryRun: true}, prune.Removed{Kind: space.Images, Count: 1})
	images(2)
	remove(prune.Config{Images: true}, prune.Removed{Kind: space.Images, Count: 1})
	images(1)
	stale := filepath.Join(n.Dirs.Uploads(), "t", strings.Repeat("0", 64)+".d")
	old := time.Now().Add(-8 * 24 * time.Hour)
	if err := errors.Join(os.MkdirAll(filepath.Dir(stale), 0o700), os.WriteFile(stale, []byte("x"), 0o600), os.Chtimes(stale, old, old)); err != nil {
		t.Fatal(err)
	}
	remove(prune.Config{}, prune.Removed{Kind: space.Uploads, Count: 1})
	remove(prune.Config{Layers: true, Images: true, Uploads: true}, prune.Removed{Kind: space.Layers, Count: 1})
	images(1)
	if sb, err = n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "mine", Timeout: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if got := output(t, n, sb, "cat /tmp/one; echo $FROM_IMAGE"); got != "1\nyes\n" {
		t.Errorf("got %q", got)
	}
}

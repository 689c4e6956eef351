//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/oci/ocitest"
)

func newImage(t testing.TB, user string) v1.Image {
	t.Helper()
	a, errA := ocitest.Layer(ocitest.Regular("a", user))
	b, errB := ocitest.Layer(ocitest.Regular("b", "b"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	image, err := ocitest.Image(v1.Config{User: user}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// layoutOf writes an OCI layout with images by names.
func layoutOf(t testing.TB, images map[string]mutate.Appendable) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for ref, image := range images {
		options := []layout.Option{}
		if !strings.HasPrefix(ref, "!") {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref}))
		}
		switch image := image.(type) {
		case v1.Image:
			err = p.AppendImage(image, options...)
		case v1.ImageIndex:
			err = p.AppendIndex(image, options...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// packed returns a tar file of a directory.
func packed(t testing.TB, dir string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return write(t, b.Bytes())
}

func write(t testing.TB, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func saved(t testing.TB, images map[string]v1.Image) string {
	t.Helper()
	tags := map[name.Tag]v1.Image{}
	for ref, image := range images {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		tags[tag] = image
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.MultiWriteToFile(file, tags); err != nil {
		t.Fatal(err)
	}
	return file
}

func compressed(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err = w.Write(data)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return write(t, b.Bytes())
}

func TestImagesOfArchives(t *testing.T) {
	one, two := newImage(t, "one"), newImage(t, "two")
	foreign, err := mutate.ConfigFile(one, &v1.ConfigFile{OS: "plan9", Architecture: "mips"})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "plan9", Architecture: "mips"}}},
		mutate.IndexAddendum{Add: two, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: oci.Platform().Architecture}}})
	single := layoutOf(t, map[string]mutate.Appendable{"a:1": one})
	both := layoutOf(t, map[string]mutate.Appendable{"a:1": one, "b:1": two})
	for name, c := range map[string]struct {
		path, name, want, err string
	}{
		"directory":         {path: single, want: "one"},
		"another name":      {path: single, name: "mine", want: "one"},
		"one of two":        {path: both, name: "b:1", want: "two"},
		"two":               {path: both, err: "several images"},
		"none of two":       {path: both, name: "c", err: "several images"},
		"index":             {path: layoutOf(t, map[string]mutate.Appendable{"i": index}), want: "two"},
		"without names":     {path: layoutOf(t, map[string]mutate.Appendable{"!1": foreign, "!2": two}), want: "two"},
		"two without names": {path: layoutOf(t, map[string]mutate.Appendable{"!1": one, "!2": two}), err: "several images"},
		"other platform":    {path: layoutOf(t, map[string]mutate.Appendable{"!1": foreign}), err: oci.ErrPlatform.Error()},
		"tar":               {path: packed(t, single), want: "one"},
		"gzip":              {path: compressed(t, packed(t, single)), want: "one"},
		"docker-save":       {path: saved(t, map[string]v1.Image{"a:1": one}), want: "one"},
		"docker-save gzip":  {path: compressed(t, saved(t, map[string]v1.Image{"a:1": one})), want: "one"},
		"saved, two":        {path: saved(t, map[string]v1.Image{"a:1": one, "b:1": two}), err: "several images"},
		"empty":             {path: t.TempDir(), err: "neither the index.json"},
		"empty index":       {path: layoutOf(t, nil), err: "no image"},
		"missing":           {path: "/nonexistent", err: "no such file"},
		"device":            {path: "/dev/zero", err: "must be a file"},
		"garbage":           {path: write(t, bytes.Repeat([]byte("garbage"), 1000)), err: "archive"},
	} {
		t.Run(name, func(t *testing.T) {
			spool := t.TempDir()
			a, err := Open(t.Context(), c.path, spool, 1<<30)
			var image *oci.Image
			if err == nil {
				defer a.Close()
				image, err = a.Image(t.Context(), c.name)
			}
			if left, dirErr := os.ReadDir(spool); dirErr != nil || len(left) > 0 {
				t.Errorf("left is %v, %v", left, dirErr)
			}
			if err != nil || c.err != "" {
				if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if image.File.Config.User != c.want || len(image.Layers) != 2 {
				t.Fatalf("image %+v, want that of %s", image, c.want)
			}
			if c.name == "" && strings.HasPrefix(c.want, "one") && (len(image.Names) != 1 || !strings.HasSuffix(image.Names[0], "a:1")) {
				t.Errorf("names %q", image.Names)
			}
			s := layers.NewSpool(spool, layers.Limits{})
			for _, layer := range image.Layers {
				f, err := s.Get(t.Context(), layer)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

func TestHostileArchives(t *testing.T) {
	image := newImage(t, "one")
	manifest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	blob := func(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }
	for name, c := range map[string]struct {
		change func(dir string) error
		want   error
	}{
		"manifest changed": {func(dir string) error { return os.WriteFile(blob(dir, manifest), []byte("{}"), 0o600) }, oci.ErrDigest},
		"config changed":   {func(dir string) error { return os.WriteFile(blob(dir, config), []byte("{}"), 0o600) }, oci.ErrDigest},
		"config cut":       {func(dir string) error { return os.Truncate(blob(dir, config), 20) }, oci.ErrDigest},
		"config missing":   {func(dir string) error { return os.Remove(blob(dir, config)) }, fs.ErrNotExist},
		"config a link": {func(dir string) error {
			return errors.Join(os.Remove(blob(dir, config)), os.Symlink("/etc/passwd", blob(dir, config)))
		}, nil},
		"config a pipe": {func(dir string) error {
			return errors.Join(os.Remove(blob(dir, config)), os.Symlink("/dev/zero", blob(dir, config)))
		}, nil},
		"index is garbage": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "index.json"), []byte("[]"), 0o600) }, nil},
		"index too large": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, "index.json"), oci.MaxManifest+1)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := layoutOf(t, map[string]mutate.Appendable{"a": image})
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			a, err := Open(t.Context(), dir, t.TempDir(), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if _, err := a.Image(t.Context(), ""); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestASavedImageMayHaveLinks(t *testing.T) {
	layer, err := ocitest.Layer(ocitest.Regular("a", "x"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := ocitest.Image(v1.Config{User: "me"}, layer, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	pack := func(link string) string {
		data, err := ocitest.Layer(ocitest.Regular("config.json", string(config)), ocitest.Regular("one/layer.tar", string(layer)),
			ocitest.Symlink("two/layer.tar", link), ocitest.Regular("manifest.json", `[{"Config":"config.json","RepoTags":null,"Layers":["one/layer.tar","two/layer.tar"]}]`))
		if err != nil {
			t.Fatal(err)
		}
		return write(t, data)
	}
	for link, fails := range map[string]bool{"../one/layer.tar": false, "../../etc/passwd": true, "layer.tar": true, "../none": true} {
		a, err := Open(t.Context(), pack(link), t.TempDir(), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		i, err := a.Image(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := i.Layers[1].Open(t.Context())
		if (err != nil) != fails {
			t.Errorf("%s: %v", link, err)
		}
		if err == nil {
			r.Close()
		}
	}
}

func TestACompressedArchiveIsBounded(t *testing.T) {
	spool := t.TempDir()
	file := compressed(t, write(t, make([]byte, 10<<20)))
	if _, err := Open(t.Context(), file, spool, 1<<20); !errors.Is(err, layers.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("left is %v, %v", left, err)
	}
}

// FuzzManifests reads any bytes as the index of a layout and as the manifest of a saved image.
func FuzzManifests(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"sha256:`+strings.Repeat("0", 64)+`"}]}`), true)
	f.Add([]byte(`[{"Config":"../x","RepoTags":["a"],"Layers":["/etc/passwd"]}]`), false)
	f.Fuzz(func(t *testing.T, data []byte, isLayout bool) {
		dir, file := t.TempDir(), "manifest.json"
		if isLayout {
			file = "index.json"
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(t.Context(), dir, dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if image, err := a.Image(t.Context(), ""); err == nil {
			t.Errorf("an image %+v of nothing", image)
		}
	})
}

// The names of all files are in memory.
func TestTheNamesOfAnArchiveAreBounded(t *testing.T) {
	for what, file := range map[string]ocitest.File{
		"name": ocitest.Regular(strings.Repeat("d/", maxNames)+"f", ""), "link": ocitest.Symlink("l", strings.Repeat("d/", maxNames)),
	} {
		data, err := ocitest.Layer(file)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, t.TempDir(), 1<<20); !errors.Is(err, layers.ErrTooLarge) {
			t.Errorf("a long %s: %v", what, err)
		}
	}
}

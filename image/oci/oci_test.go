//go:build linux

package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// memory are blobs by digest.
type memory map[v1.Hash][]byte

func (m memory) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	data, ok := m[d.Digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// add adds a blob as JSON, and returns its descriptor.
func (m memory) add(t *testing.T, v any, kind types.MediaType) v1.Descriptor {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	d := v1.Descriptor{MediaType: kind, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
	m[d.Digest] = data
	return d
}

func TestNormal(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for in, want := range map[string]string{
		"ubuntu": "docker.io/library/ubuntu:latest", "ubuntu:24.04": "docker.io/library/ubuntu:24.04", "me/app": "docker.io/me/app:latest",
		"docker.io/ubuntu": "docker.io/library/ubuntu:latest", "index.docker.io/library/ubuntu": "docker.io/library/ubuntu:latest",
		"localhost:5000/a/b:c": "localhost:5000/a/b:c", "ghcr.io/x/y": "ghcr.io/x/y:latest", "a" + digest: "docker.io/library/a" + digest,
		"a:tag" + digest: "docker.io/library/a" + digest, "": "", "UPPER": "", "a b": "", "../x": "", "a@sha256:12": "", "host/": "",
	} {
		got, err := Normal(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
		if again, err := Normal(got); got != "" && (again != got || err != nil) {
			t.Errorf("%q is not normal: %q, %v", got, again, err)
		}
	}
}

func TestResolve(t *testing.T) {
	p := Platform()
	config := func(os, arch string, ids int) v1.ConfigFile {
		c := v1.ConfigFile{OS: os, Architecture: arch, RootFS: v1.RootFS{DiffIDs: []v1.Hash{}}}
		for range ids {
			c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)})
		}
		return c
	}
	layer := v1.Descriptor{MediaType: types.OCILayer, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}, Size: 7}
	for name, c := range map[string]struct {
		make func(m memory) v1.Descriptor
		want string // Of the error.
	}{
		"image":          {func(m memory) v1.Descriptor { return m.image(t, config("linux", p.Architecture, 1), layer) }, ""},
		"other platform": {func(m memory) v1.Descriptor { return m.image(t, config("linux", "vax", 1), layer) }, "not for this platform"},
		"no platform":    {func(m memory) v1.Descriptor { return m.image(t, config("", "", 1), layer) }, "not for this platform"},
		"more layers":    {func(m memory) v1.Descriptor { return m.image(t, config("linux", p.Architecture, 1), layer, layer) }, "has 2 layers"},
		"no layers":      {func(m memory) v1.Descriptor { return m.image(t, config("linux", p.Architecture, 0)) }, "no layers"},
		"many layers": {func(m memory) v1.Descriptor {
			return m.image(t, config("linux", p.Architecture, 300), make300(layer)...)
		}, "more than 256 layers"},
		"layer of another type": {func(m memory) v1.Descriptor {
			l := layer
			l.MediaType = "application/encrypted"
			return m.image(t, config("linux", p.Architecture, 1), l)
		}, "not one of a layer"},
		"artifact": {func(m memory) v1.Descriptor {
			d := m.image(t, config("linux", p.Architecture, 1), layer)
			d.MediaType = "application/chart"
			return d
		}, "not one of an image"},
		"nested index": {func(m memory) v1.Descriptor {
			return m.nest(t, m.image(t, config("linux", p.Architecture, 1), layer), 2)
		}, ""},
		"deep index": {func(m memory) v1.Descriptor {
			return m.nest(t, m.image(t, config("linux", p.Architecture, 1), layer), 5)
		}, "indexes within each other"},
		"huge size": {func(m memory) v1.Descriptor {
			d := m.image(t, config("linux", p.Architecture, 1), layer)
			d.Size = MaxManifest + 1
			return d
		}, "at most"},
		"missing":   {func(memory) v1.Descriptor { d := layer; d.MediaType = types.OCIManifestSchema1; return d }, "file does not exist"},
		"no digest": {func(memory) v1.Descriptor { return v1.Descriptor{MediaType: types.OCIManifestSchema1} }, "file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			m := memory{}
			image, err := Resolve(t.Context(), m, c.make(m))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if err == nil && (len(image.Layers) != 1 || image.Layers[0].Size != 7 || image.Layers[0].DiffID.Hex != strings.Repeat("a", 64)) {
				t.Errorf("image %+v", image)
			}
		})
	}
}

func make300(d v1.Descriptor) (all []v1.Descriptor) {
	for range 300 {
		all = append(all, d)
	}
	return all
}

func (m memory) image(t *testing.T, config v1.ConfigFile, layers ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return m.add(t, v1.Manifest{SchemaVersion: 2, Config: m.add(t, config, types.OCIConfigJSON), Layers: layers}, types.OCIManifestSchema1)
}

func (m memory) nest(t *testing.T, d v1.Descriptor, depth int) v1.Descriptor {
	t.Helper()
	for range depth {
		d = m.add(t, v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{d}}, types.OCIImageIndex)
	}
	return d
}

func TestVerify(t *testing.T) {
	data := []byte("content")
	sum := sha256.Sum256(data)
	right := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	for name, c := range map[string]struct {
		digest v1.Hash
		size   int64
		fails  bool
	}{
		"right": {right, 7, false}, "size not known": {right, 0, false}, "short": {right, 8, true}, "long": {right, 6, true},
		"other": {v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, 7, true}, "no algorithm": {v1.Hash{Hex: right.Hex}, 7, true},
	} {
		r, err := Verify(bytes.NewReader(data), c.digest, c.size)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if (err != nil) != c.fails || err != nil && name != "no algorithm" && !errors.Is(err, ErrDigest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzResolve resolves any bytes as a manifest and as an index.
func FuzzResolve(f *testing.F) {
	f.Add([]byte(`{"layers":[{}],"config":{"size":-1}}`), true)
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux"}}]}`), false)
	f.Fuzz(func(t *testing.T, data []byte, isImage bool) {
		sum := sha256.Sum256(data)
		d := v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sum)}}
		if isImage {
			d.MediaType = types.OCIManifestSchema1
		}
		if image, err := Resolve(t.Context(), memory{d.Digest: data}, d); err == nil {
			t.Errorf("an image %+v of nothing", image)
		}
	})
}

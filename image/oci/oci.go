//go:build linux

// Package oci describes container images as the packages below it find them, and picks the
// image for a platform. What it reads was made by strangers: digests and sizes are verified,
// and everything has a bound. It may import go-containerregistry's types and the standard
// library; image/catalogue and the packages below it import it.
package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is one image for one platform.
type Image struct {
	// Manifest is the digest of the manifest; zero where there is none, as in a docker-save archive.
	Manifest v1.Hash
	// Config is the digest of the configuration, which names the diff ids of all layers: images
	// with the same one have the same files.
	Config v1.Hash
	File   v1.ConfigFile
	// Layers begin with the lowest.
	Layers []Layer
	// Names are the references that its archive has for it.
	Names []string
}

// Layer is one layer of an image.
type Layer struct {
	// Digest and Size are those of the blob; zero where the archive does not have them.
	Digest v1.Hash
	Size   int64
	// DiffID is the digest of the layer without compression.
	DiffID v1.Hash
	// Open opens the blob. Its content is not verified yet.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Blobs opens what descriptors refer to.
type Blobs interface {
	Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// Bounds of what images may have.
const (
	MaxManifest = 4 << 20
	MaxConfig   = 8 << 20
	MaxLayers   = 256
	maxNested   = 4 // Indexes within indexes.
	maxIndex    = 1024
)

// ErrPlatform says that an image is not there for this platform.
var ErrPlatform = errors.New("the image is not for this platform")

// Platform is the platform of guests on this host.
func Platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// Resolve returns the image that a descriptor of a manifest or an index leads to.
func Resolve(ctx context.Context, blobs Blobs, d v1.Descriptor) (*Image, error) {
	for range maxNested {
		if !d.MediaType.IsIndex() && !d.MediaType.IsImage() && d.MediaType != "" {
			return nil, fmt.Errorf("manifest %v has the type %.100q, which is not one of an image", d.Digest, d.MediaType)
		}
		data, err := Read(ctx, blobs, d, MaxManifest)
		if err != nil {
			return nil, fmt.Errorf("manifest %v: %w", d.Digest, err)
		}
		if !d.MediaType.IsIndex() {
			return image(ctx, blobs, d.Digest, data)
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("index %v: %w", d.Digest, err)
		}
		if d, err = choose(index.Manifests); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("an index must not have more than %d indexes within each other", maxNested)
}

// choose returns the manifest for this platform. One without a platform is taken if there is
// no other: its configuration says what it is.
func choose(all []v1.Descriptor) (v1.Descriptor, error) {
	if len(all) > maxIndex {
		return v1.Descriptor{}, fmt.Errorf("an index must not have more than %d manifests, got %d", maxIndex, len(all))
	}
	want, unknown, others := Platform(), []v1.Descriptor{}, []string{}
	for _, d := range all {
		switch p := d.Platform; {
		case !d.MediaType.IsImage() && !d.MediaType.IsIndex():
		case p == nil:
			unknown = append(unknown, d)
		case p.OS == want.OS && p.Architecture == want.Architecture:
			return d, nil
		default:
			others = append(others, p.OS+"/"+p.Architecture)
		}
	}
	if len(unknown) == 1 {
		return unknown[0], nil
	}
	return v1.Descriptor{}, fmt.Errorf("%w: it is for %.300q, not for %s/%s", ErrPlatform, others, want.OS, want.Architecture)
}

func image(ctx context.Context, blobs Blobs, digest v1.Hash, data []byte) (*Image, error) {
	m, err := v1.ParseManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("manifest %v: %w", digest, err)
	}
	config, err := Read(ctx, blobs, m.Config, MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration %v: %w", m.Config.Digest, err)
	}
	i := &Image{Manifest: digest, Config: m.Config.Digest}
	for _, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			return nil, fmt.Errorf("layer %v has the type %.100q, which is not one of a layer", d.Digest, d.MediaType)
		}
		i.Layers = append(i.Layers, Layer{Digest: d.Digest, Size: d.Size,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return blobs.Open(ctx, d) }})
	}
	return i, i.Configure(config)
}

// Configure reads the configuration and gives the layers their diff ids.
func (i *Image) Configure(config []byte) error {
	if err := json.Unmarshal(config, &i.File); err != nil {
		return fmt.Errorf("configuration %v: %w", i.Config, err)
	}
	want := Platform()
	if i.File.OS != want.OS || i.File.Architecture != want.Architecture {
		return fmt.Errorf("%w: it is for %.100q, not for %s/%s", ErrPlatform, i.File.OS+"/"+i.File.Architecture, want.OS, want.Architecture)
	}
	if len(i.Layers) > MaxLayers {
		return fmt.Errorf("an image must not have more than %d layers, got %d", MaxLayers, len(i.Layers))
	}
	if len(i.Layers) == 0 {
		return errors.New("the image has no layers")
	}
	if ids := i.File.RootFS.DiffIDs; len(ids) != len(i.Layers) {
		return fmt.Errorf("the manifest has %d layers, the configuration %d", len(i.Layers), len(ids))
	}
	for n, id := range i.File.RootFS.DiffIDs {
		if _, err := v1.Hasher(id.Algorithm); err != nil {
			return fmt.Errorf("layer %d: diff id: %w", n+1, err)
		}
		i.Layers[n].DiffID = id
	}
	return nil
}

// Read returns what a descriptor refers to, verified, if it has at most so many bytes.
func Read(ctx context.Context, blobs Blobs, d v1.Descriptor, most int64) ([]byte, error) {
	if d.Size < 0 || d.Size > most {
		return nil, fmt.Errorf("must have at most %d bytes, got %d", most, d.Size)
	}
	r, err := blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v, err := Verify(r, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	// A manifest can leave a size out, or say 0.
	data, err := io.ReadAll(io.LimitReader(v, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("must have at most %d bytes, and has more", most)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Verify returns a reader that gives what r has, and instead of its end an error if that is
// not of the digest or of the size. A size of 0 is not known.
func Verify(r io.Reader, digest v1.Hash, size int64) (io.Reader, error) {
	sum, err := v1.Hasher(digest.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("digest %.100q: %w", digest, err)
	}
	return &verifier{r: r, sum: sum, digest: digest, size: size}, nil
}

// ErrDigest says that content is not of its digest or size.
var ErrDigest = errors.New("the content is not of its digest")

type verifier struct {
	r      io.Reader
	sum    hash.Hash
	digest v1.Hash
	size   int64
	n      int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.sum.Write(p[:n])
	switch {
	case v.size > 0 && v.n > v.size:
		return 0, fmt.Errorf("%w: more than the %d bytes of %v", ErrDigest, v.size, v.digest)
	case err != io.EOF:
		return n, err
	case v.size > 0 && v.n < v.size:
		return n, fmt.Errorf("%w: it ends after %d of %d bytes of %v", ErrDigest, v.n, v.size, v.digest)
	}
	if got := fmt.Sprintf("%x", v.sum.Sum(nil)); got != v.digest.Hex {
		return n, fmt.Errorf("%w: it is %s, not %s", ErrDigest, got, v.digest.Hex)
	}
	return n, io.EOF
}

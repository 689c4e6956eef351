//go:build linux

// Package archive reads images from a directory or a file: OCI layouts, also as a tar file,
// and what "docker save" writes. It may import image/oci, image/oci/layers,
// internal/flock, go-containerregistry's types, google/renameio and the standard library; image/catalogue and node/move may import it.
package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rundlet/rundlet/image/oci"
)

// Archive is an open archive. The caller closes it when it is done with its images.
type Archive struct {
	files files
}

// files are the files of an archive, by paths without a leading slash. Open returns
// fs.ErrNotExist for one that is not there.
type files interface {
	Open(name string) (io.ReadCloser, error)
	Close() error
}

// Open opens the archive at a path. Spool is a directory for what a compressed file has,
// which is at most so many bytes; nothing stays there.
func Open(ctx context.Context, name, spool string, most int64) (*Archive, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return &Archive{directory{root}}, nil
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s must be a file or a directory", name)
	}
	t, err := openTar(ctx, name, spool, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Archive{t}, nil
}

// Close ends the use of the archive and of its images.
func (a *Archive) Close() error { return a.files.Close() }

// directory is an archive that is not packed. No link leads out of it.
type directory struct{ root *os.Root }

func (d directory) Close() error { return d.root.Close() }

func (d directory) Open(name string) (io.ReadCloser, error) {
	// What is not a regular file could block or never end.
	if info, err := d.root.Stat(filepath.FromSlash(name)); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%.300q is not a regular file", name)
	}
	return d.root.Open(filepath.FromSlash(name))
}

// read returns a whole file of at most so many bytes.
func (a *Archive) read(name string, most int64) ([]byte, error) {
	f, err := a.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%.300q must have at most %d bytes", name, most)
	}
	return data, err
}

// Image returns the image that has a name, or the only one if the name is empty or if there
// is only one.
func (a *Archive) Image(ctx context.Context, name string) (*oci.Image, error) {
	index, err := a.read("index.json", oci.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		manifest, err := a.read("manifest.json", oci.MaxManifest)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("it has neither the index.json of an OCI layout nor the manifest.json of \"docker save\"")
		}
		if err != nil {
			return nil, err
		}
		return a.saved(manifest, name)
	}
	if err != nil {
		return nil, err
	}
	return a.layout(ctx, index, name)
}

// The annotations that name the image of a descriptor.
var nameAnnotations = []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"}

func namesOf(d v1.Descriptor) (names []string) {
	for _, key := range nameAnnotations {
		if name := d.Annotations[key]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (a *Archive) layout(ctx context.Context, data []byte, name string) (*oci.Image, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var roots []v1.Descriptor
	names := map[v1.Hash][]string{}
	for _, d := range index.Manifests {
		if names[d.Digest] == nil {
			roots = append(roots, d)
		}
		names[d.Digest] = append(names[d.Digest], namesOf(d)...)
	}
	d, err := one(roots, func(d v1.Descriptor) []string { return names[d.Digest] }, name)
	if errors.Is(err, errSeveral) && len(names[roots[0].Digest]) == 0 && name == "" {
		// An index of platforms, as some programs write it.
		d, err = v1.Descriptor{}, nil
	}
	if err != nil {
		return nil, err
	}
	if d.Digest.Hex == "" {
		return a.platforms(ctx, roots)
	}
	image, err := oci.Resolve(ctx, a, d)
	if err != nil {
		return nil, err
	}
	image.Names = names[d.Digest]
	return image, nil
}

// Artifact returns the manifest of an OCI layout that has a name, or the only one, whatever it is of.
func (a *Archive) Artifact(name string) (v1.Descriptor, error) {
	data, err := a.read("index.json", oci.MaxManifest)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("it is not an OCI layout: %w", err)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("index.json: %w", err)
	}
	return one(index.Manifests, namesOf, name)
}

// platforms returns the image for this platform of several without names.
func (a *Archive) platforms(ctx context.Context, roots []v1.Descriptor) (*oci.Image, error) {
	var found *oci.Image
	for _, d := range roots {
		image, err := oci.Resolve(ctx, a, d)
		if errors.Is(err, oci.ErrPlatform) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, fmt.Errorf("it has several images without names for this platform: %v and %v", found.Manifest, d.Digest)
		}
		found = image
	}
	if found == nil {
		return nil, oci.ErrPlatform
	}
	return found, nil
}

// Open implements oci.Blobs.
func (a *Archive) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if _, err := v1.NewHash(d.Digest.String()); err != nil { // It becomes a path.
		return nil, err
	}
	return a.files.Open(path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
}

var errSeveral = errors.New("it has several images: choose one by its name")

// one returns the element with a name, or the only one.
func one[T any](all []T, namesOf func(T) []string, name string) (T, error) {
	var zero T
	var have []string
	for _, element := range all {
		names := namesOf(element)
		if name != "" && slices.Contains(names, name) {
			return element, nil
		}
		have = append(have, names...)
	}
	switch {
	case len(all) == 0:
		return zero, errors.New("it has no image")
	case len(all) == 1:
		return all[0], nil
	}
	return zero, fmt.Errorf("%w: %.1000s", errSeveral, strings.Join(have, ", "))
}

//go:build linux

// Package ocitest makes container images for tests, by go-containerregistry: another program
// than the one that reads them. It may import go-containerregistry and the standard library;
// tests import it.
package ocitest

import (
	"archive/tar"
	"bytes"
	"io"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is an entry of a layer. Its type is that of Header, or a regular file.
type File struct {
	tar.Header
	Content string
}

// Dir, Regular, Link and HardLink are entries.
func Dir(name string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

// Regular is a file with mode 0644.
func Regular(name, content string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, Content: content}
}

// Program is a file with another mode.
func Program(name, content string, mode int64) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, Content: content}
}

// Symlink is a symbolic link.
func Symlink(name, target string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

// HardLink is another name of a file.
func HardLink(name, target string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

// Layer returns a layer without compression.
func Layer(files ...File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		f.Size = int64(len(f.Content))
		if f.ModTime.IsZero() {
			f.ModTime = time.Unix(1_700_000_000, 0)
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.Content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// Image returns an image for this platform with these layers, as gzip where an archive or a
// registry has compression.
func Image(config v1.Config, layers ...[]byte) (v1.Image, error) {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: config,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}})
	if err != nil {
		return nil, err
	}
	for _, data := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	return image, nil
}

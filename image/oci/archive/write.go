//go:build linux

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/renameio/v2"

	"github.com/rundlet/rundlet/internal/flock"
)

const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// Directory writes an OCI layout into a directory, beside what it has already. Its methods may be called at the same time, and
// several processes may write into one directory.
type Directory struct{ path, name string }

// WriteDirectory opens or makes the layout in a directory, for one manifest with a name.
func WriteDirectory(dir, name string) (*Directory, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, err
	}
	return &Directory{dir, name}, renameio.WriteFile(filepath.Join(dir, "oci-layout"), []byte(layoutVersion), 0o644)
}

// PutBlob stores a blob, unless it is there. One that was damaged is replaced.
func (d *Directory) PutBlob(_ context.Context, b v1.Descriptor, data []byte) error {
	file := filepath.Join(d.path, "blobs", "sha256", b.Digest.Hex)
	if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() && info.Size() == b.Size {
		if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, data) {
			return nil
		}
	}
	return renameio.WriteFile(file, data, 0o644)
}

// PutManifest stores the manifest, and gives it the name.
func (d *Directory) PutManifest(ctx context.Context, m v1.Descriptor, data []byte) error {
	if err := d.PutBlob(ctx, m, data); err != nil {
		return err
	}
	file := filepath.Join(d.path, "index.json")
	lock, err := flock.Await(ctx, file+".lock") // Other writers change the list, too.
	if err != nil {
		return err
	}
	defer lock.Close()
	defer os.Remove(lock.Name()) // What stays does no harm.
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if err == nil {
		read, err := v1.ParseIndexManifest(bytes.NewReader(old))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		index.Manifests = slices.DeleteFunc(read.Manifests, func(x v1.Descriptor) bool { return slices.Contains(namesOf(x), d.name) })
	}
	text, err := indexOf(index, m, d.name)
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, text, 0o644)
}

func indexOf(index v1.IndexManifest, m v1.Descriptor, name string) ([]byte, error) {
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
	index.Manifests = append(index.Manifests, m)
	return json.Marshal(index)
}

// Tar writes an OCI layout as one file, which has its name when it is whole. Its methods may be called at the same time.
type Tar struct {
	name string
	file *renameio.PendingFile

	mu   sync.Mutex
	out  *tar.Writer          // guarded by mu
	have map[v1.Hash]struct{} // guarded by mu
}

// WriteTar begins a file for one manifest with a name. The caller closes it.
func WriteTar(file, name string) (*Tar, error) {
	f, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
	if err != nil {
		return nil, err
	}
	t := &Tar{name: name, file: f, out: tar.NewWriter(f), have: map[v1.Hash]struct{}{}}
	if err := t.add("oci-layout", []byte(layoutVersion)); err != nil {
		return nil, errors.Join(err, f.Cleanup())
	}
	return t, nil
}

func (t *Tar) add(name string, data []byte) error {
	if err := t.out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := t.out.Write(data)
	return err
}

// PutBlob stores a blob, unless it is there.
func (t *Tar) PutBlob(_ context.Context, b v1.Descriptor, data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.have[b.Digest]; ok {
		return nil
	}
	t.have[b.Digest] = struct{}{}
	return t.add(path.Join("blobs", b.Digest.Algorithm, b.Digest.Hex), data)
}

// PutManifest stores the manifest and ends the file.
func (t *Tar) PutManifest(ctx context.Context, m v1.Descriptor, data []byte) error {
	if err := t.PutBlob(ctx, m, data); err != nil {
		return err
	}
	text, err := indexOf(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}, m, t.name)
	if err != nil {
		return err
	}
	if err := errors.Join(t.add("index.json", text), t.out.Close()); err != nil {
		return err
	}
	return t.file.CloseAtomicallyReplace()
}

// Close removes what is not whole.
func (t *Tar) Close() error { return t.file.Cleanup() }

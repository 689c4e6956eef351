// Package embedded unpacks the programs that a binary carries inside: they run on Linux,
// so each is chosen by architecture alone. The packages that embed one stand on it, and
// the command in build makes what they embed. It may import the standard library and
// google/renameio.
package embedded

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/google/renameio/v2"
)

// Program is a compressed program in a binary. Its methods can be called concurrently.
type Program struct {
	name   string
	load   func() ([]byte, error)
	digest func() string
}

// File is the name of the file that holds a program for an architecture.
func File(name, goarch string) string { return name + "-linux-" + goarch + ".gz" }

// New returns the program of this name in the directory bin of files, for the
// architecture of this binary. missing is the error of a binary that was built without it.
func New(files fs.FS, name string, missing error) *Program {
	p := &Program{name: name}
	p.load = sync.OnceValues(func() ([]byte, error) {
		b, err := fs.ReadFile(files, "bin/"+File(name, runtime.GOARCH))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, missing
		}
		return b, err
	})
	p.digest = sync.OnceValue(func() string {
		b, err := p.load()
		if err != nil {
			return ""
		}
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	})
	return p
}

// Digest identifies the program: the SHA-256 of its compressed form, in hex. It is empty
// for a binary that was built without the program.
func (p *Program) Digest() string { return p.digest() }

// Base returns the name that Extract gives the file: it depends on the contents. It is
// empty for a binary that was built without the program.
func (p *Program) Base() string {
	if p.Digest() == "" {
		return ""
	}
	return p.name + "-" + p.Digest()[:16]
}

// Extract writes the program into dir, executable, and returns the path. If it is there
// already, and whole, it is left alone, so concurrent and repeated calls are cheap.
func (p *Program) Extract(dir string) (path string, err error) {
	packed, err := p.load()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, p.Base())
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm() == 0o755 && info.Size() == unpackedSize(packed) {
		return path, nil
	}
	if err := unpack(packed, path); err != nil {
		return "", fmt.Errorf("extract %s: %w", p.name, err)
	}
	return path, nil
}

// unpackedSize is the size of a program, which gzip has at the end (RFC 1952), below 4 GiB.
func unpackedSize(packed []byte) int64 {
	if len(packed) < 4 {
		return 0
	}
	return int64(binary.LittleEndian.Uint32(packed[len(packed)-4:]))
}

// unpack writes beside path and renames, so that path is never half a program.
func unpack(packed []byte, path string) error {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o755))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if _, err := io.Copy(f, zr); err != nil { //nolint:gosec // The build made the archive.
		return err
	}
	// It syncs first: the name promises the contents, after a power cut, too.
	return f.CloseAtomicallyReplace()
}

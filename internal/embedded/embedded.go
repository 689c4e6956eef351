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
		if err == nil && digestOf(b) == "" {
			return nil, missing // An earlier release made it.
		}
		return b, err
	})
	p.digest = sync.OnceValue(func() string {
		b, err := p.load()
		if err != nil {
			return ""
		}
		return digestOf(b)
	})
	return p
}

// Digest identifies the program: its SHA-256, in hex. It is empty for a binary that was
// built without the program.
func (p *Program) Digest() string { return p.digest() }

// Base returns the name that Extract gives the file: BaseOf of the program. It is
// empty for a binary that was built without the program.
func (p *Program) Base() string {
	if p.Digest() == "" {
		return ""
	}
	return BaseOf(p.name, p.Digest())
}

// BaseOf returns the name of the file of a program with a digest.
func BaseOf(name, digest string) string { return name + "-" + digest[:16] }

// Pack compresses a program, with its digest as the comment.
func Pack(to io.Writer, program io.ReadSeeker) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, program); err != nil {
		return err
	}
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return err
	}
	zw, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	zw.Comment = hex.EncodeToString(sum.Sum(nil))
	if _, err := io.Copy(zw, program); err != nil {
		return err
	}
	return zw.Close()
}

// digestOf returns the digest of a program that Pack made; empty of another one.
func digestOf(packed []byte) string {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return ""
	}
	if sum, err := hex.DecodeString(zr.Comment); err != nil || len(sum) != sha256.Size {
		return ""
	}
	return zr.Comment
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
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), zr); err != nil { //nolint:gosec // The build made the archive.
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != zr.Comment {
		return errors.New("its content is not of its digest")
	}
	// It syncs first: the name promises the contents, after a power cut, too.
	return f.CloseAtomicallyReplace()
}

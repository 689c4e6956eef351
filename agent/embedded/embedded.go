// Package embedded carries the guest agent inside the host's binary. The agent
// runs on Linux whatever the host is, so it is chosen by architecture alone. It
// may import the standard library and google/renameio; what prepares guests
// imports it.
package embedded

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
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

//go:embed bin
var bin embed.FS

// ErrMissing: this binary was built without the agent.
var ErrMissing = errors.New("this binary has no embedded guest agent: build it with `make build`")

// Name is the file in the directory bin that holds the agent for an
// architecture.
func Name(goarch string) string { return "rundlet-agent-linux-" + goarch + ".gz" }

var load = sync.OnceValues(func() ([]byte, error) {
	b, err := bin.ReadFile("bin/" + Name(runtime.GOARCH))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	return b, err
})

var digest = sync.OnceValue(func() string {
	b, err := load()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
})

// Digest identifies the embedded agent: the SHA-256 of its compressed form, in
// hex. It is empty if there is none.
func Digest() string { return digest() }

// Extract writes the agent into dir, executable, under a name that depends on
// its contents, and returns the path. If it is there already it is left alone,
// so concurrent and repeated calls are cheap. The error is ErrMissing if this
// binary has no agent.
func Extract(dir string) (path string, err error) {
	packed, err := load()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "rundlet-agent-"+Digest()[:16])
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm() == 0o755 {
		return path, nil
	}
	if err := unpack(packed, path); err != nil {
		return "", fmt.Errorf("extract guest agent: %w", err)
	}
	return path, nil
}

// unpack writes beside path and renames, so that path is never half an agent.
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

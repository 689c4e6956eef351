//go:build linux

package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// A push that is repeated mends the layout of a medium that was damaged, and does not wait for what is not a file.
func TestADamagedBlobIsWrittenAgain(t *testing.T) {
	dir, data := t.TempDir(), []byte("what a blob has")
	sum := sha256.Sum256(data)
	d := v1.Descriptor{Size: int64(len(data)), Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}}
	file := filepath.Join(dir, "blobs", "sha256", d.Digest.Hex)
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, len(data)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := WriteDirectory(dir, "app:v1")
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"missing":   func() error { return os.Remove(file) },
		"zeros":     func() error { return os.WriteFile(file, make([]byte, len(data)), 0o600) },
		"cut":       func() error { return os.Truncate(file, 3) },
		"a link":    func() error { _ = os.Remove(file); return os.Symlink(other, file) },
		"a channel": func() error { _ = os.Remove(file); return unix.Mkfifo(file, 0o600) },
		"sound":     func() error { return nil },
	} {
		if err := out.PutBlob(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if err := out.PutBlob(t.Context(), d, data); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", name, info, err)
		} else if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: it has %q, %v", name, got, err)
		}
	}
	if got, err := os.ReadFile(other); err != nil || !bytes.Equal(got, make([]byte, len(data))) {
		t.Errorf("what a link leads to has %q, %v", got, err)
	}
}

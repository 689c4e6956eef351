//go:build linux

package catalogue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/rundlet/rundlet/image/oci/ocitest"
)

// benchLayer has files of some size, half of which compression removes.
func benchLayer(b *testing.B, seed uint64, files, size int) []byte {
	b.Helper()
	random := rand.NewChaCha8([32]byte{byte(seed)})
	var all []ocitest.File
	for i := range files {
		content := make([]byte, size)
		if _, err := random.Read(content[:size/2]); err != nil {
			b.Fatal(err)
		}
		all = append(all, ocitest.Regular(fmt.Sprintf("layer%d/dir%d/file%d", seed, i/100, i), string(content)))
	}
	data, err := ocitest.Layer(all...)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkLoad makes an image of two compressed layers with 10,000 files and 160 MB, and "tar" unpacks
// the same blobs with GNU tar, durably, too. Bytes are those without compression.
func BenchmarkLoad(b *testing.B) {
	const files, size = 5000, 16 << 10
	image, err := ocitest.Image(v1.Config{}, benchLayer(b, 1, files, size), benchLayer(b, 2, files, size))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = p.AppendImage(image)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Run("image", func(b *testing.B) {
		b.SetBytes(2 * files * size)
		cfg := newConfig(b)
		for b.Loop() {
			c := open(b, cfg)
			entry, err := c.Load(b.Context(), dir, "bench", nil)
			if err == nil {
				var release func()
				if _, release, err = c.Image(b.Context(), "bench"); err == nil {
					release()
				}
			}
			if err = errors.Join(err, c.Remove("bench")); err != nil {
				b.Fatal(err)
			}
			if freed, err := c.Prune(keeping()); err != nil || freed != entry.Bytes {
				b.Fatal(freed, err)
			}
		}
	})
	b.Run("tar", func(b *testing.B) {
		b.SetBytes(2 * files * size)
		layers, err := image.Layers()
		if err != nil {
			b.Fatal(err)
		}
		var blobs []string
		for _, layer := range layers {
			r, err := layer.Compressed()
			if err != nil {
				b.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				b.Fatal(err)
			}
			name := filepath.Join(b.TempDir(), "blob")
			if err := os.WriteFile(name, data, 0o600); err != nil || !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
				b.Fatal("not compressed", err)
			}
			blobs = append(blobs, name)
		}
		to := filepath.Join(b.TempDir(), "root")
		for b.Loop() {
			if err := os.Mkdir(to, 0o700); err != nil {
				b.Fatal(err)
			}
			for _, blob := range blobs {
				if out, err := exec.CommandContext(b.Context(), "tar", "-xzf", blob, "-C", to).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
			if out, err := exec.CommandContext(b.Context(), "sync", "-f", to).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			if err := os.RemoveAll(to); err != nil {
				b.Fatal(err)
			}
		}
	})
}

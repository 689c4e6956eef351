//go:build linux

package kernel

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVmlinux(t *testing.T) {
	for _, how := range []string{"", ".gz", ".xz", ".zst", ".lz4"} {
		t.Run("payload"+how, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "vmlinux")
			if _, err := extractVmlinux(t.Context(), writeTemp(t, "image", bzImage(t, how, vmlinux)), to); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, vmlinux) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	image := bzImage(t, ".lz4", vmlinux)
	change := func(at int, b ...byte) []byte { return slices.Replace(bytes.Clone(image), at, at+len(b), b...) }
	payload := 5*512 + 100
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"an old header":       {change(x86Version, 0x07, 0x02), "does not say where"},
		"outside the image":   {change(x86Payload, 0xff, 0xff, 0xff, 0xff), "damaged"},
		"too short":           {change(x86Payload+4, 1, 0, 0, 0), "damaged"},
		"unknown compression": {change(payload, 'B', 'Z', 'h'), "not known"},
		"another size":        {change(len(image)-len("the rest")-4, 1), "should have"},
		"damaged":             {change(payload+8, bytes.Repeat([]byte{0xff}, 200)...), "the kernel in the image"},
		"not a kernel":        {bzImage(t, ".lz4", []byte("text")), "not an ELF file"},
		"cut off":             {image[:1000], "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "vmlinux")
			name, err := extractVmlinux(t.Context(), writeTemp(t, "image", c.image), to)
			if err == nil || name != "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v, want %q in it", name, err, c.want)
			}
			if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file is left: %v", err)
			}
		})
	}
}

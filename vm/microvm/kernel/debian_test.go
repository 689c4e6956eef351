//go:build linux

package kernel

import (
	"bytes"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDebian is with the kernel of Debian that test machines boot.
func TestDebian(t *testing.T) {
	from := os.Getenv("RUNDLET_TEST_KERNEL")
	if from == "" {
		t.Skip("RUNDLET_TEST_KERNEL names no kernel: scripts/testkernel gets one")
	}
	k, err := Install(t.Context(), t.TempDir(), from, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range k.Modules {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".ko"), "-")
		names = append(names, name)
	}
	for i, name := range names {
		data, err := os.ReadFile(k.Modules[i])
		if err != nil {
			t.Fatal(err)
		}
		needs, err := dependsOf(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, need := range needs {
			if !slices.Contains(names[:i], strings.ReplaceAll(need, "-", "_")) {
				t.Errorf("%s comes before %s, which it needs", name, need)
			}
		}
	}
	for _, name := range []string{"virtio_blk", "erofs", "overlay", "vmw_vsock_virtio_transport", "virtio_balloon", "virtio_rng"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s in %q", name, names)
		}
	}
	file, err := elf.Open(k.Vmlinux)
	if err != nil {
		t.Fatalf("vmlinux: %v (%s)", err, k.NoVmlinux)
	}
	defer file.Close()
	if file.Section(".notes") == nil || file.Entry == 0 {
		t.Errorf("vmlinux has no notes, or no entry")
	}
}

func FuzzPackage(f *testing.F) {
	f.Add(deb("data.tar", tarOf(f, files(f, ".gz"))))
	f.Add(deb("data.tar.zst", pack(f, ".zst", tarOf(f, files(f, "")))))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := unpackFrom(t.Context(), io.MultiReader(strings.NewReader(arMagic), bytes.NewReader(data)), filepath.Join(dir, "to")); err == nil {
			if tree, err := Find(filepath.Join(dir, "to")); err == nil {
				_, _ = tree.order()
			}
		}
		_, _ = dependsOf(data)
		if r, _, err := payload(bytes.NewReader(data), int64(len(data))); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
		}
	})
}

//go:build linux

package hostbase

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstream "github.com/erofs/go-erofs"

	"github.com/rundlet/rundlet/image/erofs"
)

// TestTheImageIsWhatAGuestSees has marked secrets where a mount covers them.
func TestTheImageIsWhatAGuestSees(t *testing.T) {
	const secret = "marked secret"
	host := fakeHost(t, map[string]string{"usr/etc/conf": secret, "usr/local/etc/conf": secret, "etc/shadow!": secret, "root/key!": secret,
		"home/me/key": secret, "usr/share/doc/text": "shown", "usr/bin/sh": "->bash"})
	base := build(t, host, t.TempDir())
	if base.HasImage() {
		t.Error("the base has an image before it was made")
	}
	files := 0
	image, err := base.MakeImage(t.Context(), erofs.Options{Progress: func(n int, _ int64) { files = n }})
	if err != nil {
		t.Fatal(err)
	}
	if image.Path != base.Image() || !base.HasImage() || files != image.Files || base.SpecOfImage().Rootfs != image.Path || len(base.SpecOfImage().Mounts) > 0 {
		t.Errorf("image %+v after %d files, want the path %s", image, files, base.Image())
	}
	data, err := os.ReadFile(image.Path)
	if err != nil || bytes.Contains(data, []byte(secret)) {
		t.Errorf("a secret is in the image, or %v", err)
	}
	f, err := os.Open(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tree, err := upstream.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"usr/share/doc/text": "shown", "usr/bin/bash": "bash"} {
		if got, err := fs.ReadFile(tree, name); string(got) != want || err != nil {
			t.Errorf("%s has %q, want %q: %v", name, got, want, err)
		}
	}
	for _, dir := range []string{"usr/etc", "usr/local/etc"} {
		if entries, err := fs.ReadDir(tree, dir); err != nil || len(entries) > 0 {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
	// All of the root directory is there too.
	walk(t, base.Rootfs, func(name string, fi fs.FileInfo) {
		if got, err := fs.Stat(tree, name); fi.Mode().IsRegular() && (err != nil || got.Size() != fi.Size()) {
			t.Errorf("%s: %v, want %d bytes: %v", name, got, fi.Size(), err)
		}
	})
}

func TestImagesAreListedAndRemoved(t *testing.T) {
	host := fakeHost(t, nil)
	dir := t.TempDir()
	base := build(t, host, dir)
	if _, err := base.MakeImage(t.Context(), erofs.Options{}); err != nil {
		t.Fatal(err)
	}
	if ids, err := List(dir); err != nil || !slices.Equal(ids, []string{base.ID}) {
		t.Errorf("builds %q, %v", ids, err)
	}
	if images, err := Images(dir); err != nil || !slices.Equal(images, []string{base.Image()}) {
		t.Errorf("images %q, %v", images, err)
	}
	for range 2 {
		if err := RemoveImage(base.Image()); err != nil {
			t.Error(err)
		}
	}
	if _, err := base.MakeImage(t.Context(), erofs.Options{MaxBytes: 1}); err == nil || base.HasImage() {
		t.Errorf("an image that is too large: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 || !strings.HasPrefix(base.Image(), dir) {
		t.Errorf("left are %q, %v", left, err)
	}
}

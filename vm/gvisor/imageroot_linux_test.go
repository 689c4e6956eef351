package gvisor

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
)

// makeImage returns an image of a directory, for guests.
func makeImage(t testing.TB, root string) string {
	t.Helper()
	image, err := erofs.Make(t.Context(), erofs.Dir(root), t.TempDir(), erofs.Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	return image.Path
}

// rootImage is an image of the root directory that all tests share.
var rootImage = sync.OnceValues(func() (string, error) {
	root, err := rootfs()
	if err != nil {
		return "", err
	}
	if rootImageDir, err = os.MkdirTemp("", "gvimage"); err != nil {
		return "", err
	}
	image, err := erofs.Make(context.Background(), erofs.Dir(root), rootImageDir, erofs.Options{ForGuest: true})
	if err != nil {
		return "", err
	}
	return image.Path, nil
})

var rootImageDir string // Empty until there is an image.

// imageSpec is guestSpec with that image.
func imageSpec(t testing.TB) vm.Spec {
	t.Helper()
	spec := guestSpec(t)
	var err error
	if spec.Rootfs, err = rootImage(); err != nil {
		t.Fatal(err)
	}
	return spec
}

// onBothRoots runs a test with a directory and with an image as root.
func onBothRoots(t *testing.T, test func(t *testing.T, newSpec func(testing.TB) vm.Spec)) {
	t.Run("directory", func(t *testing.T) { test(t, guestSpec) })
	t.Run("image", func(t *testing.T) { test(t, imageSpec) })
}

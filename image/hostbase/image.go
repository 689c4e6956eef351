//go:build linux

package hostbase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
)

// Image is where the image of the base is, if there is one: see MakeImage.
func (b Base) Image() string { return b.Rootfs + erofs.Suffix }

// HasImage reports whether it is there, and whole. One that is damaged is made anew.
func (b Base) HasImage() bool { return erofs.Whole(b.Image()) }

// MakeImage makes an image of all that a guest sees of the base: a copy of the host's
// /usr, gigabytes, without extended attributes. The caller fills in MaxBytes, Check (with HostStamp,
// that the host stayed as it was meanwhile) and Progress of the options.
func (b Base) MakeImage(ctx context.Context, options erofs.Options) (*erofs.Image, error) {
	options.ForGuest, options.Name = true, filepath.Base(b.Image())
	image, err := erofs.Make(ctx, view{b}, filepath.Dir(b.Rootfs), options)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	return image, nil
}

// Images returns the files of the images in dir.
func Images(dir string) ([]string, error) { return filepath.Glob(filepath.Join(dir, "*"+erofs.Suffix)) }

// RemoveImage deletes an image. The caller knows that no sandbox and no snapshot
// uses it. One that is not there is not an error.
func RemoveImage(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the image of a base: %w", err)
	}
	return nil
}

// view is the tree that a guest sees: the root directory with the mounts in it.
type view struct{ base Base }

func (v view) at(path string) (erofs.Source, string) {
	source, target := v.base.Rootfs, ""
	for _, m := range v.base.Mounts {
		at := strings.TrimPrefix(m.Target, "/")
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) > len(target) {
			source, target = m.Source, at
		}
	}
	return erofs.Dir(source), strings.TrimPrefix(path[len(target):], "/")
}

func (v view) Names(dir string) ([]string, error) {
	source, path := v.at(dir)
	return source.Names(path)
}

func (v view) Stat(path string) (erofs.File, error) {
	source, path := v.at(path)
	return source.Stat(path)
}

func (v view) Open(path string) (io.ReadCloser, error) {
	source, path := v.at(path)
	return source.Open(path)
}

// SpecOfImage is the spec that starts the agent in the image of the base.
func (b Base) SpecOfImage() vm.Spec {
	return vm.Spec{Rootfs: b.Image(), Args: b.Args, Env: b.Env, Cwd: "/"}
}

//go:build linux

// Package erofs makes EROFS images: one file with a whole tree of files, for reading
// only. Images are plain: not compressed, in blocks of 4 KiB, without features that a
// reader must know. The Linux kernel mounts them, and gVisor reads them in the sandbox. It
// may import internal packages, golang.org/x/sys and the standard library; node, runtime and
// cmd may import it.
package erofs

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/internal/flock"
)

// Options say how an image differs from the tree that it is made of.
type Options struct {
	// ForGuest leaves out extended attributes: gVisor cannot open a file of an image that has
	// any. Image.LeftOut counts them.
	ForGuest bool
	// Mode, if not nil, returns the mode that the file at a path in the image has, from type and
	// permissions as in stat. It is where a caller takes set-uid bits away; it must not change
	// the type.
	Mode func(path string, mode uint32) uint32
	// MaxBytes, if positive, is how large the image may be; a larger one is ErrTooLarge.
	MaxBytes int64
	// Name is the name of the file, whose former version it replaces; empty is the digest.
	Name string
	// Check, if not nil, is called when the image is complete. If it returns an error, that is
	// the error of Make, and the image never has its name.
	Check func() error
	// Progress, if not nil, is called after each file with what the image has so far.
	Progress func(files int, bytes int64)
}

// ErrTooLarge says that an image would be larger than Options.MaxBytes.
var ErrTooLarge = errors.New("the image is too large")

// Image is a finished image.
type Image struct {
	// Path is the file. Its name is Options.Name or the digest, and it must not be written to.
	Path string
	// Digest is one of all that is in the image, in hexadecimal; the same tree gives the same
	// one. The image's UUID is the begin of it.
	Digest string
	// Bytes is the size of the file, and Files how many names are in it.
	Bytes int64
	Files int
	// LeftOut is how many files have extended attributes that are not in the image.
	LeftOut int
}

// Suffix ends the names of images.
const Suffix = ".erofs"

const (
	// unfinished is the image that a call is making. One that a process left is overwritten.
	unfinished = "new" + Suffix + ".tmp"
	// lockFile excludes a second call.
	lockFile = "new" + Suffix + ".lock"
)

// Make makes an image of a tree in a directory that exists, and gives it its name when it is
// durable. One that is named by its digest and there already stays as it is. The tree must not change meanwhile:
// a file whose size does is an error. The memory that it takes grows with the number of names, some
// 300 bytes each, and not with their contents. One call at a time can make an image in a
// directory; another one gets flock.ErrHeld. The caller owns the file.
func Make(ctx context.Context, source Source, dir string, options Options) (_ *Image, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("make an image in %s: %w", dir, err)
		}
	}()
	lock, err := flock.Try(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	temp := filepath.Join(dir, unfinished)
	defer os.Remove(temp) // It has another name when all is well.
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	image, err := write(ctx, f, source, options)
	if err != nil {
		return nil, err
	}
	if options.Check != nil {
		if err := options.Check(); err != nil {
			return nil, err
		}
	}
	image.Path = filepath.Join(dir, cmp.Or(options.Name, image.Digest+Suffix))
	if options.Name == "" && Whole(image.Path) {
		return image, nil
	}
	if err := os.Rename(temp, image.Path); err != nil {
		return nil, err
	}
	return image, syncDir(dir)
}

// Clean removes what a call of Make left in dir whose process died; nothing if one is at work.
func Clean(dir string) error {
	temp := filepath.Join(dir, unfinished)
	if _, err := os.Stat(temp); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := flock.Try(filepath.Join(dir, lockFile))
	if errors.Is(err, flock.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write makes the image in an empty file, durably.
func write(ctx context.Context, f *os.File, source Source, options Options) (*Image, error) {
	out := newOutput(ctx, f, options.MaxBytes)
	t := &tree{out: out, source: source, options: options, links: map[Link]*inode{}}
	if err := t.add(); err != nil {
		return nil, err
	}
	digest, err := t.finish()
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o400); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return &Image{Digest: hex.EncodeToString(digest), Bytes: out.pos, Files: t.names, LeftOut: t.leftOut}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

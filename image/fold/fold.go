//go:build linux

// Package fold puts what a machine wrote over its root image into the tree of that image. Both come from strangers: the image from a
// registry, and the layer from a guest. It may import image/tree, image/erofs, golang.org/x/sys and the standard library;
// image/catalogue may import it.
package fold

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/tree"
)

const (
	maxEntries = 2_000_000
	// opaque is the attribute that hides what the image has in a directory. A guest cannot set it, as it can user.overlay.opaque.
	opaque = "SCHILY.xattr.trusted.overlay.opaque"
)

// Lower puts all that an image has into an empty tree, which the file must outlive.
func Lower(ctx context.Context, t *tree.Tree, image io.ReaderAt) error {
	first := map[erofs.Link]string{}
	err := erofs.Walk(image, func(path string, file erofs.File, content int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if file.Link != (erofs.Link{}) {
			if target, ok := first[file.Link]; ok {
				return t.Link(path, target)
			}
			first[file.Link] = path
		}
		if err := t.Put(path, file, tree.Content{At: image, Offset: content}); err != nil {
			return fmt.Errorf("%.300q: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the root image: %w", err)
	}
	return nil
}

// Upper puts a layer over the tree: a plain tar file, as vm.LayerReader describes it, in which the contents stay. The file must be
// open as long as the tree is in use. Sockets, pipes, devices and extended attributes are left out. An error names the entry.
func Upper(ctx context.Context, t *tree.Tree, layer *os.File) error {
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t.NextLayer()
	entries := 0
	for r := tar.NewReader(layer); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the layer: %w", err)
		}
		if entries++; entries > maxEntries {
			return fmt.Errorf("%w: more than %d entries", tree.ErrTooLarge, maxEntries)
		}
		at, err := layer.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := add(t, h, tree.Content{At: layer, Offset: at}); err != nil {
			return fmt.Errorf("entry %.300q: %w", h.Name, err)
		}
	}
}

// Times gives the files of a tree the times of change that a tar file has rounded to seconds. r has for each an absolute path, a NUL, and eight
// bytes with the nanoseconds since 1970, the highest first. What has another time is left as it is.
func Times(ctx context.Context, t *tree.Tree, r io.ReadSeeker) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := in.ReadSlice(0)
		if err == io.EOF && len(name) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read times: %w", err)
		}
		path := string(name[:len(name)-1])
		var nanoseconds [8]byte
		if _, err := io.ReadFull(in, nanoseconds[:]); err != nil {
			return fmt.Errorf("read times: %w", err)
		}
		exact := time.Unix(0, int64(binary.BigEndian.Uint64(nanoseconds[:])))
		t.Precise(path, exact)
	}
}

// add adds one entry.
func add(t *tree.Tree, h *tar.Header, content tree.Content) error {
	name := path.Clean("/" + h.Name)
	if hasDots(h.Name) || hasDots(h.Linkname) && h.Typeflag == tar.TypeLink {
		return errors.New("the path must not contain \"..\"")
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return link(t, name, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
			return t.Hide(name)
		}
		return t.Remove(name) // It hides what the image has.
	}
	file, err := describe(h)
	if err != nil {
		return err
	}
	if err := t.Put(name, file, content); err != nil || h.Typeflag != tar.TypeDir {
		return err
	}
	if h.PAXRecords[opaque] != "y" {
		return nil
	}
	return t.HideAll(name)
}

// link gives a file of the layer another name. One that was left out has none.
func link(t *tree.Tree, name, target string) error {
	if err := t.Link(name, target); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return t.Remove(name)
}

func hasDots(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// describe translates a header. Set-uid bits stay: the file is for guests only, and on the host it lies within one that only root can
// read.
func describe(h *tar.Header) (erofs.File, error) {
	f := erofs.File{Mode: uint32(h.Mode) & 0o7777, Modified: h.ModTime}
	const most = 1<<32 - 2 // The last number means no owner.
	if h.Uid < 0 || h.Uid > most || h.Gid < 0 || h.Gid > most {
		return f, fmt.Errorf("owner %d:%d must be numbers of 32 bits", h.Uid, h.Gid)
	}
	f.UID, f.GID = uint32(h.Uid), uint32(h.Gid)
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return f, errors.New("sparse files in layers are not supported")
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		f.Mode, f.Size = f.Mode|unix.S_IFREG, h.Size
	case tar.TypeDir:
		f.Mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		f.Mode, f.Target = unix.S_IFLNK|0o777, h.Linkname
	default:
		return f, fmt.Errorf("has the unknown type %q", h.Typeflag)
	}
	return f, nil
}

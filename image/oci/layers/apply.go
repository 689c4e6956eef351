//go:build linux

package layers

import (
	"archive/tar"
	"context"
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
	whiteout     = ".wh."
	whiteoutMeta = ".wh..wh." // Of aufs: nothing but the opaque one has a meaning.
	opaque       = ".wh..wh..opq"
)

// Skipped counts what a tree does not have of its layers.
type Skipped struct {
	// Devices are device nodes: guests have their own /dev, and gVisor opens none of an image.
	Devices int
	// Attributes are files with extended attributes, such as file capabilities.
	Attributes int
}

// Apply adds a layer to the tree: a plain tar file, in which the contents stay. The file must
// be open as long as the tree is in use. An error names the entry.
func (s *Spool) Apply(ctx context.Context, t *tree.Tree, layer *os.File, skipped *Skipped) error {
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t.NextLayer()
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
		if s.entries++; s.entries > s.limits.Entries {
			return fmt.Errorf("%w: more than %d entries", ErrTooLarge, s.limits.Entries)
		}
		at, err := layer.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := add(t, h, tree.Content{At: layer, Offset: at}, skipped); err != nil {
			return fmt.Errorf("entry %.300q: %w", h.Name, err)
		}
	}
}

// add adds one entry.
func add(t *tree.Tree, h *tar.Header, content tree.Content, skipped *Skipped) error {
	switch dir, base := path.Split(path.Clean("/" + h.Name)); {
	case h.Typeflag == tar.TypeXGlobalHeader:
		return nil
	case hasDots(h.Name):
		return errors.New("the path must not contain \"..\"")
	case base == opaque:
		return t.HideAll(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	case strings.HasPrefix(base, whiteout):
		name := base[len(whiteout):]
		if name == "" || name == "." || name == ".." {
			return errors.New("the whiteout must name a file")
		}
		return t.Hide(dir + name)
	}
	if h.Typeflag == tar.TypeLink {
		if hasDots(h.Linkname) {
			return errors.New("the target of a hard link must not contain \"..\"")
		}
		return t.Link(h.Name, h.Linkname)
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		skipped.Devices++
		return t.Remove(h.Name)
	}
	file, err := describe(h)
	if err != nil {
		return err
	}
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "SCHILY.xattr.") || strings.HasPrefix(name, "LIBARCHIVE.xattr.") {
			skipped.Attributes++
			break
		}
	}
	return t.Put(h.Name, file, content)
}

func hasDots(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// describe translates a header. Set-uid bits stay: the file is for guests only, and on the
// host it lies within one that only root can read.
func describe(h *tar.Header) (erofs.File, error) {
	f := erofs.File{Mode: uint32(h.Mode) & 0o7777, Modified: h.ModTime}
	if f.Modified.Unix() < 0 { // An image cannot have it.
		f.Modified = time.Unix(0, 0)
	}
	const most = 1<<32 - 2 // The last number means no owner.
	if h.Uid < 0 || h.Uid > most || h.Gid < 0 || h.Gid > most {
		return f, fmt.Errorf("owner %d:%d must be numbers of 32 bits", h.Uid, h.Gid)
	}
	f.UID, f.GID = uint32(h.Uid), uint32(h.Gid)
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return f, errSparse
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		f.Mode, f.Size = f.Mode|unix.S_IFREG, h.Size
	case tar.TypeDir:
		f.Mode |= unix.S_IFDIR
	case tar.TypeSymlink:
		f.Mode, f.Target = unix.S_IFLNK|0o777, h.Linkname
	case tar.TypeFifo:
		f.Mode |= unix.S_IFIFO
	case tar.TypeGNUSparse:
		return f, errSparse
	default:
		return f, fmt.Errorf("has the unknown type %q", h.Typeflag)
	}
	return f, nil
}

// errSparse: the content of such a file is not in one piece, and programs that make images
// write none.
var errSparse = errors.New("sparse files in layers are not supported")

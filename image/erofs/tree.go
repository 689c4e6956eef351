//go:build linux

package erofs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxName   = 255
	maxPath   = 4096
	maxTarget = 4095
)

// inode is a file of the image. All names of a file have the same one.
type inode struct {
	file       File
	links      uint32
	attributes []byte  // As they are in the image.
	children   []child // Of a directory, with "." and "..", by name.

	size  uint64 // Of the content.
	start uint32 // The first block of the content that is not inline.
	// inline is the content right behind the inode, instead of in blocks.
	inline bool
	at     int64 // Where it is, from the begin of the inodes.
}

// child is a name in a directory.
type child struct {
	name string
	*inode
}

func (i *inode) kind() uint32 { return i.file.Mode & unix.S_IFMT }

// tree is the image in the making: contents of files are written when they are found, and
// directories and inodes when all are known.
type tree struct {
	out     *output
	source  Source
	options Options
	links   map[Link]*inode
	inodes  []*inode // The root first, each directory before what is in it.
	names   int
	bytes   int64
	leftOut int
}

// add reads the whole tree.
func (t *tree) add() error {
	if err := t.out.skip(blockSize); err != nil { // For the superblock.
		return err
	}
	root, err := t.inode("")
	if err != nil {
		return err
	}
	if root.kind() != unix.S_IFDIR {
		return errors.New("the root is not a directory")
	}
	return t.directory("", root, root)
}

// directory adds all that is in a directory.
func (t *tree) directory(path string, dir, parent *inode) error {
	names, err := t.source.Names(path)
	if err != nil {
		return err
	}
	slices.Sort(names)
	dir.links = 2
	dir.children = append(make([]child, 0, len(names)+2), child{".", dir}, child{"..", parent})
	for i, name := range names {
		at := strings.TrimPrefix(path+"/"+name, "/")
		switch {
		case name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\x00"):
			return fmt.Errorf("%.300q is not a file name", name)
		case len(at) > maxPath:
			return fmt.Errorf("path %.300q… has more than %d bytes", at, maxPath)
		case i > 0 && names[i-1] == name:
			return fmt.Errorf("%.300q is there twice", at)
		}
		file, err := t.inode(at)
		if err != nil {
			return err
		}
		dir.children = append(dir.children, child{name, file})
		if file.kind() != unix.S_IFDIR {
			continue
		}
		dir.links++
		if err := t.directory(at, file, dir); err != nil {
			return err
		}
	}
	slices.SortFunc(dir.children, func(a, b child) int { return cmp.Compare(a.name, b.name) })
	return nil
}

// inode adds the file at a path, or a name of one that is there.
func (t *tree) inode(path string) (*inode, error) {
	if err := t.out.ctx.Err(); err != nil {
		return nil, err
	}
	file, err := t.source.Stat(path)
	if err != nil {
		return nil, err
	}
	if t.options.Mode != nil {
		file.Mode = t.options.Mode(path, file.Mode)
	}
	t.names++
	if same := t.links[file.Link]; same != nil && file.Link != (Link{}) {
		if same.kind() != file.Mode&unix.S_IFMT || same.kind() == unix.S_IFDIR {
			return nil, fmt.Errorf("%.300q is not the file that its other names are", path)
		}
		same.links++
		return same, nil
	}
	i := &inode{file: file, links: 1}
	if err := t.fill(path, i); err != nil {
		return nil, err
	}
	t.inodes = append(t.inodes, i)
	if file.Link != (Link{}) {
		t.links[file.Link] = i
	}
	if t.options.Progress != nil {
		t.options.Progress(t.names, t.bytes)
	}
	return i, nil
}

// fill checks a new inode, and gives it content and attributes.
func (t *tree) fill(path string, i *inode) (err error) {
	switch i.kind() {
	case unix.S_IFREG:
		err = t.content(path, i)
	case unix.S_IFLNK:
		if i.size = uint64(len(i.file.Target)); i.size == 0 || i.size > maxTarget || strings.Contains(i.file.Target, "\x00") {
			return fmt.Errorf("%.300q: the target of the link must have 1 to %d bytes and no NUL", path, maxTarget)
		}
	case unix.S_IFDIR, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fmt.Errorf("%.300q has the unknown mode %o", path, i.file.Mode)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%.300q: %w", path, err)
	case t.options.ForGuest && len(i.file.Attributes) > 0:
		t.leftOut++
	case !t.options.ForGuest:
		if i.attributes, err = encodeAttributes(i.file.Attributes); err != nil {
			return fmt.Errorf("%.300q: %w", path, err)
		}
	}
	i.file.Attributes = nil
	return nil
}

// content writes what is in a regular file.
func (t *tree) content(path string, i *inode) error {
	if i.file.Size < 0 {
		return fmt.Errorf("size must not be negative, got %d", i.file.Size)
	}
	i.size = uint64(i.file.Size)
	if i.size == 0 {
		return nil
	}
	var err error
	if i.start, err = t.out.block(); err != nil {
		return err
	}
	f, err := t.source.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// One byte more than expected shows that it has grown.
	n, err := t.out.copyFrom(io.LimitReader(f, i.file.Size+1), i.file.Size)
	if err != nil {
		return err
	}
	if n != i.file.Size {
		return fmt.Errorf("its size changed while it was read: it was %d bytes", i.file.Size)
	}
	t.bytes += n
	return t.out.align()
}

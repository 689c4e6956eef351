//go:build linux

// Package tree holds a tree of files in memory while an image is put together: names and
// attributes only, and for each content the place where it is. Layers are applied to it, and
// it is an erofs.Source. It may import image/erofs, golang.org/x/sys and the standard library;
// the other packages of image may import it.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
)

const (
	maxName   = 255
	maxPath   = 4096
	maxTarget = 4095
	// maxDepth bounds the names in a path; programs that walk the tree recurse.
	maxDepth = 256
	// maxLinks is how many symbolic links one path may lead through, as in Linux.
	maxLinks = 40
	// maxSteps bounds all lookups in a tree: a path can lead through many long links, and
	// a million such paths would take hours.
	maxSteps = 200_000_000
	// maxNames bounds the names that were ever put into a tree, and maxText their bytes with those of link targets: a path
	// makes up to maxDepth directories, and all of this is in memory.
	maxNames = 2_500_000
	maxText  = 256 << 20
)

// ErrTooLarge says that a tree has more names than this program keeps in memory.
var ErrTooLarge = errors.New("the tree is too large")

// Content is where the content of a regular file is: File.Size bytes from Offset. The tree
// does not close At.
type Content struct {
	At     io.ReaderAt
	Offset int64
}

// Tree is a tree of files with a root. Paths are separated by slashes; leading slashes and
// "." have no meaning, and ".." is an error. Symbolic links of the tree are followed in all
// names but the last one, and never lead out of it. A Tree is for one goroutine at a time.
type Tree struct {
	root  *node
	layer int
	steps int
	names int // that were ever put
	text  int // their bytes, and those of targets
	links uint64
}

// node is a file; all names of it have the same one.
type node struct {
	file     erofs.File
	content  Content
	children map[string]entry // Of a directory.
	// depth and length are how many names lead to a directory, and their bytes with a slash each.
	depth, length int
	// cleared is the layer that last hid what lower ones have in the directory.
	cleared int
}

// entry is a name, and the layer that it comes from.
type entry struct {
	*node
	layer int
}

func (n *node) kind() uint32 { return n.file.Mode & unix.S_IFMT }
func (n *node) isDir() bool  { return n.kind() == unix.S_IFDIR }

// New returns a tree that has only the root, with mode 0755.
func New() *Tree { return &Tree{root: newDir(), layer: 1} }

func newDir() *node {
	return &node{file: erofs.File{Mode: unix.S_IFDIR | 0o755, Modified: time.Unix(0, 0)}, children: map[string]entry{}}
}

// NextLayer begins another layer: Hide and HideAll leave what is put from now on.
func (t *Tree) NextLayer() { t.layer++ }

// Put adds a file, and directories that its path lacks. It replaces what has the name, but a
// directory over a directory keeps what is in it. Attributes are left out.
func (t *Tree) Put(path string, file erofs.File, content Content) error {
	file.Attributes, file.Link = nil, erofs.Link{}
	if err := valid(file); err != nil {
		return err
	}
	names, err := split(path)
	if err != nil {
		return err
	}
	isDir := file.Mode&unix.S_IFMT == unix.S_IFDIR
	if len(names) == 0 {
		if !isDir {
			return errors.New("the root must be a directory")
		}
		t.root.file = file
		return nil
	}
	dir, err := t.dir(names[:len(names)-1], true)
	if err != nil {
		return err
	}
	name := names[len(names)-1]
	if old := dir.children[name]; isDir && old.node != nil && old.isDir() {
		old.file = file
		dir.children[name] = entry{old.node, t.layer}
		return nil
	}
	n := &node{file: file, content: content}
	n.file.Target = strings.Clone(file.Target) // It may be a part of a longer string.
	if isDir {
		n.children = map[string]entry{}
	}
	return t.insert(dir, name, n)
}

// insert gives a node a name in a directory.
func (t *Tree) insert(dir *node, name string, n *node) error {
	depth, length := dir.depth+1, dir.length+len(name)+1
	switch {
	case depth > maxDepth: // Links lead deeper than their own path is.
		return fmt.Errorf("the path is more than %d names deep", maxDepth)
	case length > maxPath:
		return fmt.Errorf("the path has more than %d bytes", maxPath)
	case t.names >= maxNames:
		return fmt.Errorf("%w: it has more than %d names", ErrTooLarge, maxNames)
	}
	if t.text += len(name) + len(n.file.Target); t.text > maxText {
		return fmt.Errorf("%w: its names and links have more than %d bytes", ErrTooLarge, maxText)
	}
	t.names++
	if n.children != nil {
		n.depth, n.length = depth, length
	}
	dir.children[strings.Clone(name)] = entry{n, t.layer}
	return nil
}

func valid(file erofs.File) error {
	switch file.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if len(file.Target) == 0 || len(file.Target) > maxTarget || strings.Contains(file.Target, "\x00") {
			return fmt.Errorf("the target of a symbolic link must have 1 to %d bytes and no NUL", maxTarget)
		}
	case unix.S_IFREG:
		if file.Size < 0 {
			return fmt.Errorf("the size must not be negative, got %d", file.Size)
		}
	}
	return nil
}

// Link gives a file another name. The target is a path of the tree; a symbolic link there
// is not followed.
func (t *Tree) Link(path, target string) error {
	from, err := t.find(target, false)
	if err != nil {
		return fmt.Errorf("hard link to %.300q: %w", target, err)
	}
	if from.isDir() {
		return fmt.Errorf("hard link to %.300q: it is a directory", target)
	}
	names, err := split(path)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("the root must be a directory")
	}
	dir, err := t.dir(names[:len(names)-1], true)
	if err != nil {
		return err
	}
	return t.insert(dir, names[len(names)-1], from)
}

// Remove removes a name and all below it; none is not an error.
func (t *Tree) Remove(path string) error {
	dir, name, err := t.parent(path)
	if err != nil || dir == nil {
		return err
	}
	delete(dir.children, name)
	return nil
}

// Hide removes what lower layers have at a path, as a whiteout does.
func (t *Tree) Hide(path string) error {
	dir, name, err := t.parent(path)
	if err != nil || dir == nil {
		return err
	}
	e := dir.children[name]
	if e.node != nil && !t.strip(e.node) && e.layer != t.layer {
		delete(dir.children, name)
	}
	return nil
}

// HideAll removes what lower layers have in a directory, as an opaque whiteout does.
func (t *Tree) HideAll(dir string) error {
	names, err := split(dir)
	if err != nil {
		return err
	}
	n, err := t.dir(names, false)
	if err != nil || n == nil {
		return err
	}
	t.strip(n)
	return nil
}

// strip removes what lower layers have in a directory, and reports whether something is left.
func (t *Tree) strip(n *node) (left bool) {
	if n.cleared == t.layer {
		return len(n.children) > 0
	}
	for name, c := range n.children {
		if !t.strip(c.node) && c.layer != t.layer {
			delete(n.children, name)
		}
	}
	n.cleared = t.layer
	return len(n.children) > 0
}

// Precise gives the file at a path the exact time of change, if it has that rounded to seconds. Symbolic links are not followed, and a
// path that leads nowhere has no effect.
func (t *Tree) Precise(path string, exact time.Time) {
	if n, err := t.at(path); err == nil && n.file.Modified.Equal(exact.Round(time.Second)) {
		n.file.Modified = exact
	}
}

// ReadFile returns the content of a regular file of at most so many bytes. Symbolic links
// are followed, also the last one. The error for a missing file is fs.ErrNotExist.
func (t *Tree) ReadFile(path string, most int64) ([]byte, error) {
	n, err := t.find(path, true)
	if err != nil {
		return nil, err
	}
	if n.kind() != unix.S_IFREG {
		return nil, fmt.Errorf("%.300q is not a regular file", path)
	}
	if n.file.Size > most {
		return nil, fmt.Errorf("%.300q has more than %d bytes", path, most)
	}
	return io.ReadAll(n.reader())
}

// Lookup describes the file at a path; symbolic links are followed, also the last one.
func (t *Tree) Lookup(path string) (erofs.File, error) {
	n, err := t.find(path, true)
	if err != nil {
		return erofs.File{}, err
	}
	return n.file, nil
}

// Len is how many names are in a directory, whose symbolic links are followed.
func (t *Tree) Len(dir string) int {
	n, err := t.find(dir, true)
	if err != nil {
		return 0
	}
	return len(n.children)
}

func (n *node) reader() io.Reader {
	if n.file.Size == 0 {
		return strings.NewReader("")
	}
	return io.NewSectionReader(n.content.At, n.content.Offset, n.file.Size)
}

// errNotDir is the error of a path that leads through something else.
var errNotDir = errors.New("not a directory")

func missing(name string) error { return fmt.Errorf("%.300q: %w", name, fs.ErrNotExist) }

//go:build linux

package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
)

// split returns the names of a path, and an error for one that no file of an image may have.
func split(path string) ([]string, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the path has more than %d bytes", maxPath)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			return nil, errors.New("the path must not contain \"..\"")
		case len(name) > maxName:
			return nil, fmt.Errorf("a name must not have more than %d bytes", maxName)
		case strings.Contains(name, "\x00"):
			return nil, errors.New("a name must not have a NUL")
		}
		names = append(names, name)
	}
	if len(names) > maxDepth {
		return nil, fmt.Errorf("the path is more than %d names deep", maxDepth)
	}
	return names, nil
}

// parent returns the directory of a path and its last name; no directory if one is missing.
func (t *Tree) parent(path string) (*node, string, error) {
	names, err := split(path)
	if err != nil || len(names) == 0 {
		return nil, "", err
	}
	dir, err := t.dir(names[:len(names)-1], false)
	return dir, names[len(names)-1], err
}

// dir follows names from the root to a directory. One that is missing is made, or nil is
// the result.
func (t *Tree) dir(names []string, create bool) (*node, error) {
	stack, links := []*node{t.root}, 0
	todo := append(make([]string, 0, len(names)), names...)
	for len(todo) > 0 {
		name, at := todo[0], stack[len(stack)-1]
		todo = todo[1:]
		if t.steps++; t.steps > maxSteps {
			return nil, errors.New("the paths lead through too many symbolic links")
		}
		switch name {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		e := at.children[name]
		switch {
		case e.node == nil && !create:
			return nil, nil
		case e.node == nil:
			e = entry{newDir(), t.layer}
			if len(name) > maxName { // Of a link's target.
				return nil, fmt.Errorf("a name must not have more than %d bytes", maxName)
			}
			if err := t.insert(at, name, e.node); err != nil {
				return nil, err
			}
		case e.kind() == unix.S_IFLNK:
			if links++; links > maxLinks {
				return nil, errors.New("the path leads through too many symbolic links")
			}
			if strings.HasPrefix(e.file.Target, "/") {
				stack = stack[:1]
			}
			todo = append(strings.Split(e.file.Target, "/"), todo...)
			continue
		case !e.isDir():
			if !create {
				return nil, nil
			}
			return nil, fmt.Errorf("%.300q: %w", name, errNotDir)
		}
		stack = append(stack, e.node)
	}
	return stack[len(stack)-1], nil
}

// find returns what is at a path that people write: it may contain "..".
func (t *Tree) find(path string, follow bool) (*node, error) {
	for links := 0; ; links++ {
		names, err := split(path)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return t.root, nil
		}
		last := len(names) - 1
		dir, err := t.dir(names[:last], false)
		if err != nil {
			return nil, err
		}
		if dir == nil || dir.children[names[last]].node == nil {
			return nil, missing(path)
		}
		n := dir.children[names[last]].node
		if !follow || n.kind() != unix.S_IFLNK {
			return n, nil
		}
		if links >= maxLinks {
			return nil, errors.New("the path leads through too many symbolic links")
		}
		path = clean(strings.Join(names[:last], "/"), n.file.Target)
	}
}

// clean is the path of a link's target. Symbolic links before a ".." of it are taken for
// directories, which is wrong for some trees, and leads to another file of the same tree.
func clean(dir, target string) string {
	var out []string
	if !strings.HasPrefix(target, "/") {
		out = strings.Split(dir, "/")
	}
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, name)
		}
	}
	return strings.Join(out, "/")
}

// at returns the file at a path as erofs.Make walks it, without following links.
func (t *Tree) at(path string) (*node, error) {
	n := t.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		if n = n.children[name].node; n == nil {
			return nil, missing(path)
		}
	}
	return n, nil
}

// Names implements erofs.Source.
func (t *Tree) Names(dir string) ([]string, error) {
	n, err := t.at(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	return names, nil
}

// Stat implements erofs.Source.
func (t *Tree) Stat(path string) (erofs.File, error) {
	n, err := t.at(path)
	if err != nil {
		return erofs.File{}, err
	}
	return n.file, nil
}

// Open implements erofs.Source.
func (t *Tree) Open(path string) (io.ReadCloser, error) {
	n, err := t.at(path)
	if err != nil {
		return nil, err
	}
	if n.kind() != unix.S_IFREG {
		return nil, fmt.Errorf("%.300q is not a regular file: %w", path, fs.ErrInvalid)
	}
	return io.NopCloser(n.reader()), nil
}

// Finish marks the files that have several names, so that an image has each once. Call it
// when the tree is complete; it returns how many names there are.
func (t *Tree) Finish() int {
	seen, names := map[*node]bool{}, 0
	var walk func(n *node)
	walk = func(n *node) {
		for _, c := range n.children {
			names++
			switch {
			case c.isDir():
				walk(c.node)
			case !seen[c.node]:
				seen[c.node] = true
			case c.file.Link == erofs.Link{}:
				t.links++
				c.file.Link = erofs.Link{Inode: t.links}
			}
		}
	}
	walk(t.root)
	return names
}

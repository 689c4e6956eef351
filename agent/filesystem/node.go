//go:build linux

package filesystem

import (
	"strings"

	"golang.org/x/sys/unix"
)

// node is one watched directory. It is known by its watch and knows its parent, so
// that a rename changes one name and with it those of all that is below.
type node struct {
	watch    int32
	parent   *node
	name     string
	children map[string]*node
	// found are entries that were reported when this directory was scanned; the
	// kernel may report their creation as well.
	found map[string]bool
	// cookie is that of a rename of which only the first half was seen. The node is
	// then in no children, and still has its old parent and name.
	cookie uint32
	// seen is the walk of the tree that found this node last.
	seen int
}

// at reports whether the node is known to be there.
func (n *node) at(parent *node, name string) bool { return parent.children[name] == n }

// path returns the path of an entry below the root; ok is false where it is
// longer than any program could use.
func (n *node) path(entry string) (path string, ok bool) {
	parts, size := []string{entry}, len(entry)
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
		if size += 1 + len(n.name); size >= unix.PathMax {
			return "", false
		}
	}
	var b strings.Builder
	for i := len(parts) - 1; i > 0; i-- {
		b.WriteString(parts[i] + "/")
	}
	return b.String() + entry, true
}

// below reports whether n is top or in it.
func (n *node) below(top *node) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// place puts a node where its directory is now. What was there is in no children
// any more: it was replaced, or the next events say where it went.
func (n *node) place(parent *node, name string) {
	n.detach()
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[name] = n
	n.parent, n.name, n.cookie = parent, name, 0
}

func (n *node) detach() {
	if n.parent != nil && n.at(n.parent, n.name) {
		delete(n.parent.children, n.name)
	}
}

//go:build linux

package unpack

import (
	"path"
	"path/filepath"
	"strings"
)

// source is what a COPY step may mean by its source; empty is nothing. What the archive has decides.
type source struct {
	// literal is the path that it names.
	literal string
	// pattern is the directory in front of the first part that is a pattern. Clients put into an archive only what
	// matches, so the step means all of it, with its paths below that directory.
	pattern string
}

func parse(text string) (s source, err error) {
	outside := invalid("the source must be a path in the build's context")
	clean := path.Clean(text)
	if text == "" || !filepath.IsLocal(clean) {
		return s, outside
	}
	before := "."
	for part := range strings.SplitSeq(clean, "/") {
		name, magic := unescape(part)
		if name == ".." {
			return source{}, outside
		}
		if magic != plain && s.pattern == "" {
			s.pattern = before
		}
		if magic == always {
			return s, nil
		}
		before = path.Join(before, name)
	}
	s.literal = before
	return s, nil
}

// What a part of a source may be.
const (
	plain = iota
	maybe // A pattern, to some clients, but never one that matches a file of that name.
	always
)

// unescape returns a part without its backslashes, and what the other characters make it.
func unescape(part string) (name string, magic int) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		switch c := part[i]; {
		case c == '\\' && i+1 < len(part):
			i++
		case c == '*' || c == '?':
			magic = always
		case magic == plain && (c == '[' || c == '{' || strings.IndexByte("+@!", c) >= 0 && strings.HasPrefix(part[i+1:], "(")):
			magic = maybe
		}
		b.WriteByte(part[i])
	}
	return b.String(), magic
}

// find returns the path in the tree that a source means. If it is a directory, the step means what is in it.
func (t *tree) find(s source) (name string, found bool) {
	if t.entries == 0 {
		return "", false
	}
	if s.literal != "" {
		if _, err := t.root.Lstat(s.literal); err == nil {
			return s.literal, true
		}
	}
	_, found = t.dirs[s.pattern]
	return s.pattern, found
}

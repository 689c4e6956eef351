// Package buildcontext reads the directory that the files of a template are copied from: it finds the sources of a COPY, honours
// .dockerignore, and writes archives. Nothing outside the directory is read, whatever links are in it. It may import the standard
// library and moby/patternmatcher.
package buildcontext

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// IgnoreFile names the file in the context with patterns of what is not copied.
const IgnoreFile = ".dockerignore"

// Context is a directory with files for a template. It is safe for concurrent use.
type Context struct {
	root    *os.Root
	fsys    fs.FS
	ignored *patternmatcher.PatternMatcher // Nil ignores nothing.
}

// Open opens a directory. The caller closes it.
func Open(dir string) (*Context, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	c := &Context{root: root, fsys: root.FS()}
	if err := c.readIgnoreFile(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", IgnoreFile, err), root.Close())
	}
	return c, nil
}

// Close closes the directory.
func (c *Context) Close() error { return c.root.Close() }

// maxIgnoreFile bounds the bytes of the file with patterns.
const maxIgnoreFile = 1 << 20

// readIgnoreFile reads the patterns. It follows links within the context, as Docker does. One that leads to nothing is an error: what
// it should have excluded, which may be secrets, would be copied.
func (c *Context) readIgnoreFile() error {
	if _, err := c.root.Lstat(IgnoreFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := c.root.OpenFile(IgnoreFile, os.O_RDONLY|syscall.O_NONBLOCK, 0) // A pipe does not hold this up.
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is a symbolic link to a file that is not there")
	}
	if err != nil {
		return explain(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it must be a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err == nil && len(data) > maxIgnoreFile {
		err = fmt.Errorf("it must have at most %d bytes", maxIgnoreFile)
	}
	if err != nil {
		return err
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err != nil {
		return err
	}
	c.ignored, err = patternmatcher.New(patterns)
	return err
}

func (c *Context) ignores(name string) (bool, error) {
	if c.ignored == nil || name == "." {
		return false, nil
	}
	return c.ignored.MatchesOrParentMatches(name)
}

// Select finds what the sources of a COPY name: paths relative to the context, or patterns as those of path.Match. As Docker, it copies what a directory
// holds, and follows a link that is named, but none that is in a directory.
func (c *Context) Select(sources ...string) (*Files, error) {
	f := &Files{context: c, entries: map[string]entry{}}
	var found []string
	for _, source := range sources {
		names, err := c.find(source)
		if err != nil {
			return nil, fmt.Errorf("source %.200q: %w", source, err)
		}
		found = append(found, names...)
	}
	for _, name := range found {
		if err := f.addSource(name, len(found) == 1); err != nil {
			return nil, fmt.Errorf("source %.200q: %w", name, err)
		}
	}
	if len(f.entries) == 0 {
		return nil, errors.New("there is nothing to copy")
	}
	return f, nil
}

// find returns the paths that a source names.
func (c *Context) find(source string) ([]string, error) {
	clean := path.Clean(strings.TrimLeft(source, "/")) // As Docker, whose root is the context.
	if !fs.ValidPath(clean) {
		return nil, errors.New("it is outside the context")
	}
	pattern := strings.Split(clean, "/")
	first := slices.IndexFunc(pattern, isPattern)
	if first < 0 {
		return []string{clean}, nil
	}
	// As Docker: links before the first pattern are followed, and none after it.
	named := path.Join(pattern[:first]...)
	dir, err := c.real(cmp.Or(named, "."))
	if err != nil {
		return nil, err
	}
	below, err := c.glob(dir, pattern[first:])
	if err == nil && len(below) == 0 {
		err = errors.New("no file in the context matches it")
	}
	for i := range below {
		below[i] = path.Join(named, below[i])
	}
	return below, err
}

func isPattern(source string) bool { return strings.ContainsAny(source, `*?[\`) }

// maxLinks is how many symbolic links one path may lead through, as in Linux.
const maxLinks = 40

// real returns the path that a path leads to: one without links. What it leads to is there.
func (c *Context) real(name string) (string, error) {
	if _, err := c.root.Stat(name); err != nil {
		return "", explain(err)
	}
	out, links := ".", 0
	for todo := strings.Split(name, "/"); len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			if out == "." {
				return "", errOutside
			}
			out = path.Dir(out)
			continue
		}
		at := path.Join(out, next)
		info, err := c.root.Lstat(at)
		if err != nil {
			return "", explain(err)
		}
		if info.Mode().Type() != fs.ModeSymlink {
			out = at
			continue
		}
		target, err := c.root.Readlink(at)
		if err != nil {
			return "", explain(err)
		}
		if links++; links > maxLinks || path.IsAbs(target) {
			return "", errOutside
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return out, nil
}

// excludes reports whether a path is left out. A directory with files that are not is none.
func (c *Context) excludes(name string, isDir bool) (bool, error) {
	ignored, err := c.ignores(name)
	return ignored && (!isDir || !c.ignored.Exclusions()), err
}

// glob returns the paths below a directory that match a pattern, sorted and relative to it.
func (c *Context) glob(dir string, pattern []string) (names []string, err error) {
	list, err := fs.ReadDir(c.fsys, dir)
	if err != nil {
		return nil, explain(err)
	}
	for _, e := range list {
		matches, err := path.Match(pattern[0], e.Name())
		if err != nil {
			return nil, err
		}
		if !matches {
			continue
		}
		name := path.Join(dir, e.Name())
		if len(pattern) > 1 {
			if !e.IsDir() {
				continue
			}
			below, err := c.glob(name, pattern[1:])
			if err != nil {
				return nil, err
			}
			for _, b := range below {
				names = append(names, path.Join(e.Name(), b))
			}
			continue
		}
		excluded, err := c.excludes(name, e.IsDir())
		if err != nil {
			return nil, err
		}
		if !excluded {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// errOutside says that a path leads out of the context.
var errOutside = errors.New("a link in it leads outside the context")

// explain is an error without the path, which the caller names.
func explain(err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		if strings.Contains(p.Err.Error(), "escapes") {
			return errOutside
		}
		return p.Err
	}
	return err
}

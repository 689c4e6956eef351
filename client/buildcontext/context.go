// Package buildcontext reads the directory that the files of a template are copied from: it finds the sources of a COPY, honours
// .dockerignore, and writes archives. Nothing outside the directory is read, whatever links are in it. It may import the standard
// library and moby/patternmatcher.
package buildcontext

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

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

func (c *Context) readIgnoreFile() error {
	f, err := c.root.Open(IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
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
	if !isPattern(clean) {
		return []string{clean}, c.allowed(clean)
	}
	names, err := c.glob(".", strings.Split(clean, "/"))
	if err == nil && len(names) == 0 {
		err = errors.New("no file in the context matches it")
	}
	return names, err
}

func isPattern(source string) bool { return strings.ContainsAny(source, `*?[\`) }

// allowed checks that a path that was named is there, and is not ignored.
func (c *Context) allowed(name string) error {
	ignored, err := c.ignores(name)
	if err == nil && ignored && !c.ignored.Exclusions() {
		err = errors.New("it is excluded by " + IgnoreFile)
	}
	if err != nil {
		return err
	}
	_, err = c.root.Stat(name)
	return explain(err)
}

// glob returns the paths in a directory that match a pattern, sorted.
func (c *Context) glob(dir string, pattern []string) (names []string, err error) {
	list, err := fs.ReadDir(c.fsys, dir)
	if err != nil {
		return nil, explain(err)
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		matches, err := path.Match(pattern[0], e.Name())
		if err != nil {
			return nil, err
		}
		if !matches {
			continue
		}
		if len(pattern) > 1 {
			if info, err := c.root.Stat(name); err != nil || !info.IsDir() {
				continue
			}
			below, err := c.glob(name, pattern[1:])
			if err != nil {
				return nil, err
			}
			names = append(names, below...)
			continue
		}
		ignored, err := c.ignores(name)
		if err != nil {
			return nil, err
		}
		if !ignored || e.IsDir() && c.ignored.Exclusions() {
			names = append(names, name)
		}
	}
	return names, nil
}

// explain is an error without the path, which the caller names.
func explain(err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		if strings.Contains(p.Err.Error(), "escapes") {
			return errors.New("a link in it leads outside the context")
		}
		return p.Err
	}
	return err
}

package buildcontext

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Files are what a COPY copies.
type Files struct {
	context *Context
	// entries are those of the archive, by their paths in it.
	entries map[string]entry
	source  string
}

type entry struct {
	path string // In the context.
	info fs.FileInfo
	link string
}

// Source is what a COPY step names of the archive: a file, or a directory whose contents it copies.
func (f *Files) Source() string { return escape(f.source) }

// Len is the number of entries, and Bytes the size of all files.
func (f *Files) Len() int { return len(f.entries) }

// Bytes is the size of all files, uncompressed.
func (f *Files) Bytes() (n int64) {
	for _, e := range f.entries {
		if e.info.Mode().IsRegular() {
			n += e.info.Size()
		}
	}
	return n
}

// escape writes a path so that a COPY step does not take it for a pattern.
func escape(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if strings.IndexByte(`\*?[{`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// addSource adds a path that a COPY names. One that is alone keeps its path in the archive; of others, files get into the root of the archive, and so does
// what is in directories.
func (f *Files) addSource(name string, alone bool) error {
	at, err := f.context.real(name)
	if err != nil {
		return err
	}
	info, err := f.context.root.Lstat(at)
	if err != nil {
		return explain(err)
	}
	for _, path := range []string{name, at} { // As in Docker, whose context lacks what is excluded, a link to that leads nowhere.
		excluded, err := f.context.excludes(path, info.IsDir())
		if err == nil && excluded {
			err = errors.New("it is excluded by " + IgnoreFile)
		}
		if err != nil {
			return err
		}
	}
	to := "."
	if alone {
		to = name
	}
	if !info.IsDir() {
		if !alone {
			to = path.Base(name)
		}
		f.source = "."
		if alone {
			f.source = name
		}
		return f.put(to, entry{path: at, info: info})
	}
	f.source = to
	if alone && to != "." { // Its entry, so that there is something to copy.
		if err := f.put(to, entry{path: at, info: info}); err != nil {
			return err
		}
	}
	return f.addDir(at, to)
}

// addDir adds what is in a directory.
func (f *Files) addDir(dir, to string) error {
	list, err := fs.ReadDir(f.context.fsys, dir)
	if err != nil {
		return explain(err)
	}
	for _, d := range list {
		name, target := path.Join(dir, d.Name()), path.Join(to, d.Name())
		ignored, err := f.context.ignores(name)
		if err != nil {
			return err
		}
		if ignored && (!d.IsDir() || !f.context.ignored.Exclusions()) {
			continue
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("%.200q: %w", name, explain(err))
		}
		if !ignored && info.Mode().Type()&fs.ModeSocket == 0 {
			if err := f.put(target, entry{path: name, info: info}); err != nil {
				return err
			}
		}
		if d.IsDir() {
			if err := f.addDir(name, target); err != nil {
				return err
			}
		}
	}
	return nil
}

// put adds an entry. A later one replaces an earlier one of its kind.
func (f *Files) put(name string, e entry) error {
	switch mode := e.info.Mode(); {
	case mode.IsDir(), mode.IsRegular():
	case mode.Type() == fs.ModeSymlink:
		link, err := f.context.root.Readlink(e.path)
		if err != nil {
			return fmt.Errorf("%.200q: %w", e.path, explain(err))
		}
		e.link = link
	default:
		return fmt.Errorf("%.200q is neither a file nor a directory nor a symbolic link", e.path)
	}
	if before, ok := f.entries[name]; ok && before.info.IsDir() != e.info.IsDir() {
		return errors.New("one source has a file where another has a directory")
	}
	f.entries[name] = e
	return nil
}

// names are the paths in the archive; a directory comes before what is in it.
func (f *Files) names() []string { return slices.Sorted(maps.Keys(f.entries)) }

//go:build linux

package space

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/layout"
)

// inode is a file, whatever its names.
type inode struct{ device, number uint64 }

// file is what is known of one.
type file struct {
	bytes int64
	kind  string
	// links is how many names it has, and free how many of them would be removed.
	links, free uint64
}

// found is all that was measured.
type found struct {
	files map[inode]*file
	count map[string]int
}

// measure reads the sizes of all files of a node.
func measure(dirs layout.Layout, objects []Object) (*found, error) {
	f := &found{files: map[inode]*file{}, count: map[string]int{}}
	owner := map[string]*Object{}
	for i, o := range objects {
		f.count[o.Kind]++
		for _, path := range o.Paths {
			owner[path] = &objects[i]
		}
	}
	for _, root := range roots(dirs) {
		if err := f.walk(root, owner); err != nil {
			return nil, err
		}
	}
	f.open(dirs)
	return f, nil
}

// roots are the directories of a node, none of which is in another.
func roots(dirs layout.Layout) []string {
	if within(dirs.CacheDir, dirs.StateDir) {
		return []string{dirs.StateDir}
	}
	if within(dirs.StateDir, dirs.CacheDir) {
		return []string{dirs.CacheDir}
	}
	return []string{dirs.StateDir, dirs.CacheDir}
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// walk measures what is below a directory, on its file system. What vanishes meanwhile is left out.
func (f *found) walk(root string, owner map[string]*Object) error {
	var of []*Object // the owners of the directories above, nil for none
	var device uint64
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
			return nil
		} else if err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if path == root {
			device = st.Dev
		}
		if st.Dev != device && entry.IsDir() {
			return filepath.SkipDir
		}
		depth := strings.Count(strings.TrimPrefix(path, root), string(filepath.Separator))
		of = of[:min(depth, len(of))]
		o := owner[path]
		if o == nil && len(of) > 0 {
			o = of[len(of)-1]
		}
		of = append(of, o)
		f.add(&st, o)
		return nil
	})
}

// add counts a file for its owner, or for the kind that is reported first of its owners.
func (f *found) add(st *unix.Stat_t, o *Object) {
	kind, free := Other, uint64(0)
	if o != nil {
		kind = o.Kind
		if o.Grade != Needed {
			free = 1
		}
	}
	id := inode{st.Dev, st.Ino}
	links := uint64(st.Nlink) //nolint:unconvert // It has 32 bits on other processors.
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		links = 1 // Its other names are its own, and those of the directories in it.
	}
	known := f.files[id]
	if known == nil {
		known = &file{bytes: st.Blocks * 512, kind: kind, links: links}
		f.files[id] = known
	}
	known.free += free
	if slices.Index(kinds, kind) < slices.Index(kinds, known.kind) {
		known.kind = kind
	}
}

// open counts the files without a name that processes have open: the writable layers of sandboxes.
func (f *found) open(dirs layout.Layout) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		path, err := os.Readlink(link)
		path, deleted := strings.CutSuffix(path, " (deleted)")
		if err != nil || !deleted || !within(path, dirs.StateDir) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(link, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 0 || f.files[inode{st.Dev, st.Ino}] != nil {
			continue
		}
		f.add(&st, &Object{Kind: Running, Grade: Needed})
		f.count[Running]++
	}
}

func (f *found) usage() []Usage {
	sums := map[string]*Usage{}
	for _, kind := range kinds {
		sums[kind] = &Usage{Kind: kind, Count: f.count[kind]}
	}
	for file := range maps.Values(f.files) {
		u := sums[file.kind]
		u.Bytes += file.bytes
		if file.free > 0 && file.free >= file.links {
			u.Reclaimable += file.bytes
		}
	}
	var all []Usage
	for _, kind := range kinds {
		all = append(all, *sums[kind])
	}
	return all
}

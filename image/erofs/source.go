//go:build linux

package erofs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Source is a tree of files. Paths are relative to its root, which is "", and names may
// have any bytes but "/" and NUL.
type Source interface {
	// Names lists a directory, in any order and without "." and "..".
	Names(dir string) ([]string, error)
	// Stat describes a file; it does not follow symbolic links.
	Stat(path string) (File, error)
	// Open opens a regular file for reading.
	Open(path string) (io.ReadCloser, error)
}

// File is what an image keeps of a file beside its name and content.
type File struct {
	Mode     uint32 // Type and permissions, as in stat.
	UID, GID uint32
	Modified time.Time
	Size     int64 // Of a regular file, in bytes.
	// Major and Minor are the number of a device.
	Major, Minor uint32
	// Link is the same in all names of one file, and zero if it has one name only.
	Link Link
	// Target is that of a symbolic link.
	Target string
	// Attributes are the extended attributes, by their full names.
	Attributes map[string]string
}

// Link identifies a file within a Source.
type Link struct{ Device, Inode uint64 }

// Dir is the tree below a directory of this host. A symbolic link at root itself is followed,
// and those below are not.
func Dir(root string) Source { return directory(root) }

type directory string

func (d directory) at(path string) string { return filepath.Clean(string(d)) + "/" + path }

func (d directory) Names(dir string) ([]string, error) {
	f, err := os.Open(d.at(dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d directory) Open(path string) (io.ReadCloser, error) {
	return os.OpenFile(d.at(path), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

func (d directory) Stat(path string) (File, error) {
	at := d.at(path)
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return File{}, &os.PathError{Op: "stat", Path: at, Err: err}
	}
	f := File{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Modified: time.Unix(st.Mtim.Unix()), Size: st.Size,
		Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev))}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		f.Link = Link{uint64(st.Dev), st.Ino}
	}
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		if f.Target, err = os.Readlink(at); err != nil {
			return f, err
		}
	}
	f.Attributes, err = attributes(at)
	return f, err
}

// attributes reads the extended attributes of a file; nil where the file system has none.
func attributes(path string) (map[string]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if errors.Is(err, unix.ENOTSUP) || err == nil && len(list) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "list attributes of", Path: path, Err: err}
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		value, err := sized(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // Listed by the kernel, and not stored.
		}
		if err != nil {
			return nil, &os.PathError{Op: "read attribute " + name + " of", Path: path, Err: err}
		}
		all[name] = value
	}
	return all, nil
}

// sized reads what a call tells the size of when it is asked with no room.
func sized(read func([]byte) (int, error)) (string, error) {
	n, err := read(nil)
	if err != nil || n == 0 {
		return "", err
	}
	buf := make([]byte, n)
	if n, err = read(buf); err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// FS is the tree of a file system of Go. Owners, links and devices are those of
// unix.Stat_t, if that is what it has; it has no extended attributes.
func FS(files fs.FS) Source { return goFS{files} }

type goFS struct{ files fs.FS }

func (g goFS) Open(path string) (io.ReadCloser, error) { return g.files.Open(path) }

func (g goFS) Names(dir string) ([]string, error) {
	entries, err := fs.ReadDir(g.files, orRoot(dir))
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}

func orRoot(path string) string {
	if path == "" {
		return "."
	}
	return path
}

func (g goFS) Stat(path string) (File, error) {
	info, err := fs.Lstat(g.files, orRoot(path))
	if err != nil {
		return File{}, err
	}
	f := File{Mode: unixMode(info.Mode()), Modified: info.ModTime(), Size: info.Size()}
	if f.Mode&unix.S_IFMT == 0 {
		return f, fmt.Errorf("%s has the unknown type %v", path, info.Mode().Type())
	}
	if st, ok := info.Sys().(*statT); ok {
		f.UID, f.GID = st.Uid, st.Gid
		f.Major, f.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
		if st.Nlink > 1 && !info.IsDir() {
			f.Link = Link{uint64(st.Dev), st.Ino}
		}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		f.Target, err = fs.ReadLink(g.files, path)
	}
	return f, err
}

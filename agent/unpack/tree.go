//go:build linux

package unpack

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxDepth is how deep the directories of an archive may be: to remove a tree takes a descriptor for each level.
const maxDepth = 256

// dir is what a directory becomes when all is in it.
type dir struct {
	mode fs.FileMode
	time time.Time // Zero is the time at which it was made.
}

// tree is a directory with the entries of an archive. All writes go through its root, so that none leaves it.
type tree struct {
	path     string
	root     *os.Root
	uid, gid int
	mode     *fs.FileMode
	entries  int
	dirs     map[string]dir // All of them, by their paths; "." is the root.
	out      *bufio.Writer

	at   *os.Root // The directory of the latest entry, which is that of the next one most of the time.
	name string   // Its path.
}

func newTree(path string, req Request) (*tree, error) {
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &tree{
		path: path, root: root, uid: int(req.Owner.UID), gid: int(req.Owner.GID), mode: req.Mode,
		dirs: map[string]dir{".": {mode: implicit}}, out: bufio.NewWriterSize(nil, buffer),
	}, nil
}

func (t *tree) close() {
	if t.at != nil {
		t.at.Close()
	}
	t.root.Close()
}

// implicit is the mode of a directory without an entry in the archive.
const implicit = 0o755

// read unpacks an archive.
func (t *tree) read(archive io.Reader) error {
	plain, err := decompressed(archive)
	if err != nil {
		return invalid("read the archive: %w", err)
	}
	w := &whole{r: plain}
	tr := tar.NewReader(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			err = w.rest()
			if err == nil {
				return t.finish()
			}
		}
		if err != nil {
			return invalid("read the archive: %w", err)
		}
		if err := t.add(h, tr); err != nil {
			return err
		}
	}
}

// add makes an entry. None replaces another, so that what is a directory stays one.
func (t *tree) add(h *tar.Header, contents io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := path.Clean(h.Name)
	switch {
	case !filepath.IsLocal(h.Name):
		return invalid("the archive has an entry outside of it: %.200q", h.Name)
	case strings.Count(name, "/") >= maxDepth:
		return invalid("the archive has an entry below more than %d directories: %.200q", maxDepth, name)
	}
	t.entries++
	err := t.make(name, h, contents)
	switch {
	case errors.Is(err, fs.ErrExist):
		return invalid("the archive has %.200q twice", name)
	case err != nil:
		return fmt.Errorf("unpack %.200q: %w", name, cause(err))
	}
	return nil
}

func (t *tree) make(name string, h *tar.Header, contents io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		if err := t.mkdir(name); err != nil {
			return err
		}
		t.dirs[name] = dir{t.permissions(h), h.ModTime}
		return nil
	}
	if name == "." {
		return fs.ErrExist
	}
	if err := t.enter(path.Dir(name)); err != nil {
		return err
	}
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		if sparse(h) {
			break
		}
		return t.file(base, h, contents)
	case tar.TypeSymlink:
		if err := t.at.Symlink(h.Linkname, base); err != nil {
			return err
		}
		return t.at.Lchown(base, t.uid, t.gid)
	case tar.TypeLink:
		return t.link(name, h.Linkname)
	}
	return invalid("it is neither an ordinary file nor a directory nor a link")
}

// sparse reports whether an entry is a sparse file in PAX form. No client makes one: a few bytes of it fill any disk.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// permissions are those of an entry.
func (t *tree) permissions(h *tar.Header) fs.FileMode {
	if t.mode != nil {
		return *t.mode
	}
	return h.FileInfo().Mode().Perm()
}

// mkdir makes a directory and its parents, unless they are there. It is root's alone until finish.
func (t *tree) mkdir(name string) error {
	if _, ok := t.dirs[name]; ok {
		return nil
	}
	if err := t.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := t.root.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
		return invalid("%.200q is not a directory in the archive", name)
	} else if err != nil {
		return err
	}
	t.dirs[name] = dir{mode: implicit}
	return nil
}

// enter makes a directory that of the next entry.
func (t *tree) enter(name string) error {
	if t.at != nil && t.name == name {
		return nil
	}
	if err := t.mkdir(name); err != nil {
		return err
	}
	at, err := t.root.OpenRoot(name)
	if err != nil {
		return err
	}
	if t.at != nil {
		t.at.Close()
	}
	t.at, t.name = at, name
	return nil
}

func (t *tree) file(base string, h *tar.Header, contents io.Reader) error {
	f, err := t.at.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = t.fill(f, contents)
	if err == nil {
		err = f.Chown(t.uid, t.gid)
	}
	if err == nil {
		err = f.Chmod(t.permissions(h)) // After Chown, which clears set-id bits.
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return t.at.Chtimes(base, time.Time{}, h.ModTime)
}

// fill copies contents to a file.
func (t *tree) fill(f *os.File, contents io.Reader) error {
	in := &input{r: contents}
	t.out.Reset(struct{ io.Writer }{f}) // The file's own ReadFrom has no buffer.
	_, err := t.out.ReadFrom(in)
	if in.err != nil {
		return invalid("read the archive: %w", in.err)
	}
	if err != nil {
		return err
	}
	return t.out.Flush()
}

// input keeps an error of what is read apart from those of what is written.
type input struct {
	r   io.Reader
	err error
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	return n, err
}

// link makes another name for a file that was unpacked before.
func (t *tree) link(name, to string) error {
	target := path.Clean(to)
	_, isDir := t.dirs[target]
	if !filepath.IsLocal(to) || isDir {
		return invalid("it is a hard link to %.200q, which is not a file of the archive", to)
	}
	err := t.root.Link(target, name)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return err
	}
	return invalid("it is a hard link to %.200q, which is not a file before it in the archive: %w", to, cause(err))
}

// finish gives all directories to the owner.
func (t *tree) finish() error {
	for name, d := range t.dirs {
		if err := t.give(name, d); err != nil {
			return fmt.Errorf("unpack %.200q: %w", name, cause(err))
		}
	}
	return nil
}

func (t *tree) give(name string, d dir) error {
	f, err := t.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chown(t.uid, t.gid); err != nil {
		return err
	}
	if err := f.Chmod(d.mode); err != nil {
		return err
	}
	return t.root.Chtimes(name, time.Time{}, d.time)
}

// cause is an error without the path, which is one of the temporary directory.
func cause(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

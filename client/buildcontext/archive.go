package buildcontext

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Hash names the files: 64 hexadecimal digits, a SHA-256 of paths, kinds, permissions, links and contents. Times and owners do not
// count.
func (f *Files) Hash() (string, error) {
	sum := sha256.New()
	for _, name := range f.names() {
		if err := f.entry(name, sum, nil); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// WriteArchive writes a tar archive of the files, compressed by gzip. It fails if they have not the hash any more.
func (f *Files) WriteArchive(w io.Writer, want string) error {
	compressed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	out := tar.NewWriter(compressed)
	sum := sha256.New()
	for _, name := range f.names() {
		if err := f.entry(name, sum, out); err != nil {
			return err
		}
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return errors.New("files changed while they were read")
	}
	return errors.Join(out.Close(), compressed.Close())
}

// entry adds an entry to a sum and, if there is one, to an archive.
func (f *Files) entry(name string, sum hash.Hash, out *tar.Writer) error {
	e := f.entries[name]
	mode := e.info.Mode()
	size := int64(0)
	if mode.IsRegular() {
		size = e.info.Size()
	}
	fmt.Fprintf(sum, "%q %q %o %d %q\n", name, mode.Type(), mode.Perm(), size, e.link)
	if out != nil {
		if err := out.WriteHeader(header(name, e, size)); err != nil {
			return err
		}
	}
	if !mode.IsRegular() {
		return nil
	}
	to := io.Writer(sum)
	if out != nil {
		to = io.MultiWriter(sum, out)
	}
	if err := f.contents(e, size, to); err != nil {
		return fmt.Errorf("%.200q: %w", e.path, err)
	}
	return nil
}

// contents writes those of a file, which must have a size still.
func (f *Files) contents(e entry, size int64, to io.Writer) error {
	// What is a pipe by now does not hold this up.
	file, err := f.context.root.OpenFile(e.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return explain(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != size {
		return errors.New("it changed while it was read")
	}
	n, err := io.Copy(to, io.LimitReader(file, size))
	if err == nil && n != size {
		err = errors.New("it changed while it was read")
	}
	return err
}

func header(name string, e entry, size int64) *tar.Header {
	h := &tar.Header{Name: name, Mode: int64(e.info.Mode().Perm()), ModTime: e.info.ModTime(), Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: size}
	switch e.info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	}
	return h
}

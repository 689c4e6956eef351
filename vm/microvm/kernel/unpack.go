//go:build linux

package kernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxUnpacked bounds what a package has in all, and maxFiles how many of its files are extracted.
const (
	maxUnpacked = 4 << 30 // bytes
	maxFiles    = 50_000
	arMagic     = "!<arch>\n"
)

// bounded reads at most left bytes, after which more is an error, and ends with ctx.
type bounded struct {
	ctx  context.Context //nolint:containedctx // It is of one call.
	r    io.Reader
	left int64
	what string
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		return 0, fmt.Errorf("%s is too large", b.what)
	}
	b.left -= int64(n)
	return n, err
}

// openUnpacked opens a regular file, and unpacks what it reads as the file's beginning says.
func openUnpacked(path string) (io.ReadCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // Opening a pipe would block.
		return nil, fmt.Errorf("%s must be a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in, err := unpacked(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{in, f}, nil
}

// unpacked returns what a reader has, unpacked if it is packed.
func unpacked(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return xz.NewReader(in)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)) // Without goroutines, it needs no Close.
		return d, err
	}
	return in, nil
}

// isPackage reports whether a file is an ar archive.
func isPackage(path string, info fs.FileInfo) (bool, error) {
	if info.IsDir() {
		return false, nil
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s must be a regular file or a directory", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	magic := make([]byte, len(arMagic))
	n, _ := io.ReadFull(f, magic)
	return string(magic[:n]) == arMagic, nil
}

// unpack extracts what a kernel needs of a Debian package: an ar archive (deb(5)) with a tar archive of the files.
func unpack(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return unpackFrom(ctx, f, to)
}

func unpackFrom(ctx context.Context, from io.Reader, to string) error {
	r := bufio.NewReader(from)
	if _, err := r.Discard(len(arMagic)); err != nil {
		return err
	}
	for {
		header := make([]byte, 60)
		if _, err := io.ReadFull(r, header); errors.Is(err, io.EOF) {
			return errors.New("the package has no files (data.tar)")
		} else if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(header[48:58])), 10, 64)
		if err != nil || size < 0 || string(header[58:]) != "`\n" {
			return errors.New("the package is damaged")
		}
		if !strings.HasPrefix(string(header[:16]), "data.tar") {
			if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
				return err
			}
			continue
		}
		member := &io.LimitedReader{R: r, N: size}
		in, err := unpacked(member)
		if err != nil {
			return err
		}
		all := &bounded{ctx, in, maxUnpacked, "the package"}
		if err := untar(all, to); err != nil {
			return err
		}
		// What follows the last file has checksums.
		if _, err := io.Copy(io.Discard, all); err != nil {
			return err
		}
		if member.N > 0 {
			return fmt.Errorf("the package is damaged: %w", io.ErrUnexpectedEOF)
		}
		return nil
	}
}

// untar extracts the kernel and its modules.
func untar(r io.Reader, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for files := 0; files <= maxFiles; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		name := strings.TrimPrefix(header.Name, "./")
		if header.Typeflag != tar.TypeReg || !wanted(name) || !filepath.IsLocal(name) {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in) //nolint:gosec // The input is bounded by maxUnpacked.
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
		files++
	}
	return fmt.Errorf("the package has more than %d modules", maxFiles)
}

// wanted reports whether a file of a package is extracted.
func wanted(name string) bool {
	return strings.HasPrefix(name, "boot/vmlinu") || moduleOf(name) != "" || filepath.Base(name) == builtinFile
}

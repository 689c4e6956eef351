//go:build linux

package kernel

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxUnpacked bounds what a package has in all, in bytes.
const maxUnpacked = 4 << 30

// openUnpacked opens a file, and unpacks what it reads by the file's name.
func openUnpacked(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in, err := unpacked(f, filepath.Ext(path))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{in, f}, nil
}

func unpacked(r io.Reader, extension string) (io.Reader, error) {
	switch extension {
	case ".xz":
		return xz.NewReader(bufio.NewReader(r))
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	}
	return r, nil
}

// unpack extracts what a kernel needs of a Debian package: an ar archive (deb(5)) with a tar archive of the files.
func unpack(ctx context.Context, from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return errors.New("it is no Debian package (.deb)")
	}
	for {
		header := make([]byte, 60)
		if _, err := io.ReadFull(r, header); errors.Is(err, io.EOF) {
			return errors.New("it has no files (data.tar)")
		} else if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimSpace(string(header[:16])), "/")
		size, err := strconv.ParseInt(strings.TrimSpace(string(header[48:58])), 10, 64)
		if err != nil || size < 0 || string(header[58:]) != "`\n" {
			return errors.New("it is damaged")
		}
		member := io.LimitReader(r, size)
		if extension, ok := strings.CutPrefix(name, "data.tar"); ok {
			in, err := unpacked(member, extension)
			if err != nil {
				return err
			}
			return untar(ctx, io.LimitReader(in, maxUnpacked), to)
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return err
		}
	}
}

// untar extracts the kernel and its modules.
func untar(ctx context.Context, r io.Reader, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name := strings.TrimPrefix(header.Name, "./")
		wanted := strings.HasPrefix(name, "boot/vmlinu") || moduleOf(name) != "" || filepath.Base(name) == "modules.builtin"
		if header.Typeflag != tar.TypeReg || !wanted || !filepath.IsLocal(name) {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

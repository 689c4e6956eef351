//go:build linux

package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/rundlet/rundlet/image/oci/layers"
)

// maxFiles bounds the files of an archive: some for each layer.
const maxFiles = 100_000

// maxNames bounds the name of a file and what it links to, in bytes.
const maxNames = 4096

// tarFile is an archive in one file: the places of its files are known, and nothing is unpacked.
type tarFile struct {
	f      *os.File
	places map[string]place
}

type place struct {
	at, size int64
	link     string // Of a link: the path that it leads to.
}

func openTar(ctx context.Context, name, spool string, most int64) (_ *tarFile, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	plain, done, err := layers.Decompress(f)
	if err != nil {
		return nil, err
	}
	defer done()
	if isCompressed(f) {
		whole, err := layers.Unnamed(spool)
		if err != nil {
			return nil, err
		}
		err = copyBounded(ctx, whole, plain, most)
		f.Close()
		if f = whole; err != nil {
			return nil, err
		}
	}
	t := &tarFile{f: f, places: map[string]place{}}
	return t, t.index(ctx)
}

// isCompressed reports whether the file begins as no tar file does.
func isCompressed(f *os.File) bool {
	var head [2]byte
	_, err := f.ReadAt(head[:], 0)
	return err == nil && (head == [2]byte{0x1f, 0x8b} || head == [2]byte{0x28, 0xb5})
}

func copyBounded(ctx context.Context, to io.Writer, from io.Reader, most int64) error {
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, 1<<20)
		if done += n; done > most {
			return fmt.Errorf("%w: the archive has more than %d bytes", layers.ErrTooLarge, most)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tarFile) index(ctx context.Context) error {
	if _, err := t.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for r, n := tar.NewReader(t.f), 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if n >= maxFiles {
			return fmt.Errorf("%w: the archive has more than %d files", layers.ErrTooLarge, maxFiles)
		}
		at, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if len(h.Name)+len(h.Linkname) > maxNames {
			return fmt.Errorf("%w: the archive has a name of more than %d bytes", layers.ErrTooLarge, maxNames)
		}
		name := strings.Clone(path.Clean(h.Name)) // Both are parts of a record of the archive, which is not kept for them.
		switch h.Typeflag {
		case tar.TypeReg:
			t.places[name] = place{at: at, size: h.Size}
		case tar.TypeLink:
			t.places[name] = place{link: strings.Clone(path.Clean(h.Linkname))}
		case tar.TypeSymlink: // "docker save" has some for layers that are there already.
			t.places[name] = place{link: path.Join(path.Dir(name), h.Linkname)} //nolint:gosec // G305: it is a key of places, and never a path of this host.
		}
	}
}

func (t *tarFile) Open(name string) (io.ReadCloser, error) {
	at := path.Clean(name)
	for range 8 {
		p, ok := t.places[at]
		if !ok {
			return nil, fmt.Errorf("%.300q: %w", name, fs.ErrNotExist)
		}
		if p.link == "" {
			return io.NopCloser(io.NewSectionReader(t.f, p.at, p.size)), nil
		}
		if strings.HasPrefix(p.link, "..") {
			break
		}
		at = p.link
	}
	return nil, errors.New("it has a link that leads nowhere")
}

func (t *tarFile) Close() error { return t.f.Close() }

//go:build linux

package catalogue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/fold"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci/layers"
	"github.com/rundlet/rundlet/image/tree"
	"github.com/rundlet/rundlet/internal/flock"
)

// foldDir is the staging directory of Fold, which makes one image at a time: the tree of one is in memory.
const foldDir = "fold"

// mostOfRoot is how many times larger than a layer its root may be: the image that is made of both has all of the root once more, on
// the disk and in the page cache.
const mostOfRoot = 8

// ErrNotWorthIt means that an image is not made of a layer because its root is much larger than it.
var ErrNotWorthIt = errors.New("the root is much larger than what was written over it")

// Fold makes an image of a root, which is an image of this catalogue or another one that this program has made, and of what a machine
// wrote over it: layer writes that as a tar file, see vm.LayerReader, layerBytes is about how much that is, and times writes the exact times
// of its files, see fold.Times. The image has no name and is held until release is called; the same content has the same file. The error is
// ErrFull without room for it. It waits for another Fold that makes its image, and ctx breaks it off. Nothing is left after an error.
func (c *Catalogue) Fold(ctx context.Context, root string, layerBytes int64, layer, times func(context.Context, io.Writer) error) (folded string, release func(), err error) {
	folded, release, err = c.fold(ctx, root, layerBytes, layer, times)
	if err != nil {
		return "", nil, fmt.Errorf("fold a layer into %s: %w", root, err)
	}
	return folded, release, nil
}

func (c *Catalogue) fold(ctx context.Context, root string, layerBytes int64, layer, times func(context.Context, io.Writer) error) (string, func(), error) {
	if !erofs.Whole(root) {
		return "", nil, errors.New("the root is not an image that rundlet makes")
	}
	lower, err := os.Open(root)
	if err != nil {
		return "", nil, err
	}
	defer lower.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(lower.Fd()), &stat); err != nil {
		return "", nil, err
	}
	if size := stat.Blocks * 512; size/mostOfRoot > layerBytes { // Without its holes.
		return "", nil, fmt.Errorf("%w: %d MiB over %d", ErrNotWorthIt, layerBytes>>20, size>>20)
	}
	limits, err := c.limits(nil)
	if err != nil {
		return "", nil, err
	}
	limits = limits.Complete()
	// Before the lock: a machine that hangs must hold up no other one.
	upper, err := spool(ctx, filepath.Join(c.cfg.Dir, stagingDir), limits, layer)
	if err != nil {
		return "", nil, err
	}
	defer upper.Close()
	exact, err := spool(ctx, filepath.Join(c.cfg.Dir, stagingDir), limits, times)
	if err != nil {
		return "", nil, err
	}
	defer exact.Close()
	staging := filepath.Join(c.cfg.Dir, stagingDir, foldDir)
	lock, err := flock.Await(ctx, staging+lockFile)
	if err != nil {
		return "", nil, err
	}
	defer lock.Close()
	if err := errors.Join(os.RemoveAll(staging), os.Mkdir(staging, 0o700)); err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(staging)
	image, err := c.merge(ctx, staging, lower, upper, exact, limits.AskEvery)
	if err != nil {
		return "", nil, err
	}
	return c.Adopt(image.Path, image.Digest)
}

// merge makes the image in the staging directory.
func (c *Catalogue) merge(ctx context.Context, staging string, lower, upper, exact *os.File, askEvery int64) (*erofs.Image, error) {
	select {
	case c.tree <- struct{}{}:
		defer func() { <-c.tree }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	t := tree.New()
	if err := fold.Lower(ctx, t, lower); err != nil {
		return nil, err
	}
	if err := fold.Upper(ctx, t, upper); err != nil {
		return nil, err
	}
	if err := fold.Times(ctx, t, exact); err != nil {
		return nil, err
	}
	if err := guest.KeepTmp(t); err != nil {
		return nil, err
	}
	t.Finish()
	return c.write(ctx, t, staging, askEvery)
}

// write makes the image of a tree in the staging directory, named by its digest, while the disk has room for it.
func (c *Catalogue) write(ctx context.Context, t *tree.Tree, staging string, askEvery int64) (*erofs.Image, error) {
	most, err := c.imageBytes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asked := int64(0)
	image, err := erofs.Make(ctx, t, staging, erofs.Options{ForGuest: true, MaxBytes: most, Progress: func(_ int, bytes int64) {
		if bytes-asked >= askEvery {
			asked = bytes
			if _, err := c.room(); err != nil {
				cancel(err)
			}
		}
	}})
	if full := context.Cause(ctx); err != nil && errors.Is(full, ErrFull) {
		err = full
	}
	if errors.Is(err, erofs.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return image, err
}

// spool returns what write writes in a file that goes when it is closed.
func spool(ctx context.Context, dir string, limits layers.Limits, write func(context.Context, io.Writer) error) (_ *os.File, err error) {
	f, err := layers.Unnamed(dir)
	if err != nil {
		return nil, err
	}
	s := &sparse{f: f, limits: limits}
	if err = write(ctx, s); err == nil {
		err = s.end()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sparse writes to the end of a file, with holes for blocks of zeros: a guest can make files of any size that take nothing. Write keeps
// the limits.
type sparse struct {
	f      *os.File
	limits layers.Limits
	block  [4096]byte
	fill   int
	bytes  int64 // that were written, with what is in block
	stored int64 // of them outside holes
	asked  int64
}

func (s *sparse) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		m := copy(s.block[s.fill:], p)
		s.fill, s.bytes, n, p = s.fill+m, s.bytes+int64(m), n+m, p[m:]
		if s.fill == len(s.block) {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

var zeros [4096]byte

func (s *sparse) flush() error {
	if s.bytes > maxSpool {
		return fmt.Errorf("%w: more than %d bytes", layers.ErrTooLarge, int64(maxSpool))
	}
	data := s.block[:s.fill]
	s.fill = 0
	if string(data) == string(zeros[:len(data)]) {
		return nil
	}
	if s.stored += int64(len(data)); s.stored > s.limits.Bytes {
		return fmt.Errorf("%w: more than %d bytes", cmp.Or(s.limits.Full, layers.ErrTooLarge), s.limits.Bytes)
	}
	if s.limits.Ask != nil && s.stored-s.asked >= s.limits.AskEvery {
		s.asked = s.stored
		if err := s.limits.Ask(); err != nil {
			return err
		}
	}
	_, err := s.f.WriteAt(data, s.bytes-int64(len(data)))
	return err
}

// maxSpool bounds a layer with its holes: reading them takes time.
const maxSpool = 64 << 30

// end writes what is left.
func (s *sparse) end() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.f.Truncate(s.bytes)
}

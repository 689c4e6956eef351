//go:build linux

// Package layers reads the layers of an image and merges them into one tree, with whiteouts
// as containerd applies them. Nothing is unpacked: each layer is kept as one plain tar file
// without a name, and the tree has the places of contents in it. It may import image/oci,
// image/tree, klauspost/compress and the standard library; image/catalogue may import it.
package layers

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/rundlet/rundlet/image/oci"
)

// Limits bound what all layers of an image may have together, without compression. Zero is
// the default.
type Limits struct {
	Bytes   int64 // 64 GiB
	Entries int64 // 2 million
	// Full, if not nil, is the error of more than Bytes, instead of ErrTooLarge.
	Full error
	// Ask, if not nil, is called whenever another AskEvery bytes were written; its error ends that. It may be called concurrently.
	Ask      func() error
	AskEvery int64 // 64 MiB
}

const (
	defaultBytes   = 64 << 30
	defaultEntries = 2_000_000
	defaultAsk     = 64 << 20
	// maxWindow bounds the memory of a zstd decoder.
	maxWindow = 32 << 20
	// SpoolPattern is that of os.CreateTemp for the files, which lose their names at once.
	SpoolPattern = "layer-*.tar"
)

// Complete returns the limits with their defaults.
func (l Limits) Complete() Limits {
	l.Bytes, l.Entries, l.AskEvery = cmp.Or(l.Bytes, defaultBytes), cmp.Or(l.Entries, defaultEntries), cmp.Or(l.AskEvery, defaultAsk)
	return l
}

// ErrTooLarge says that the layers are larger than the limits.
var ErrTooLarge = errors.New("the layers are too large")

// Spool keeps the layers of one image in a directory. Methods may be called concurrently.
type Spool struct {
	dir     string
	limits  Limits
	bytes   atomic.Int64
	entries int64
	// Progress, if not nil, is called with how many bytes of compressed layers were read more.
	Progress func(n int)
}

// NewSpool returns a Spool in a directory that exists.
func NewSpool(dir string, limits Limits) *Spool {
	return &Spool{dir: dir, limits: limits.Complete()}
}

// Bytes is what all layers have without compression.
func (s *Spool) Bytes() int64 { return s.bytes.Load() }

// Get reads a layer, verifies it, and returns it as a plain tar file that has no name. The
// caller closes it.
func (s *Spool) Get(ctx context.Context, layer oci.Layer) (_ *os.File, err error) {
	blob, err := layer.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	f, err := Unnamed(s.dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	raw := io.Reader(&meter{ctx: ctx, r: blob, progress: s.Progress})
	if layer.Digest.Hex != "" {
		if raw, err = oci.Verify(raw, layer.Digest, layer.Size); err != nil {
			return nil, err
		}
	}
	plain, done, err := Decompress(raw)
	if err != nil {
		return nil, err
	}
	defer done()
	if plain, err = oci.Verify(plain, layer.DiffID, 0); err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, &bounded{r: plain, spool: s}); err != nil {
		return nil, err
	}
	// What follows the compressed data is part of the digest.
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return nil, err
	}
	return f, nil
}

// Unnamed returns a new file in dir that goes when it is closed.
func Unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, SpoolPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Decompress returns what r has without compression by gzip or zstd, which it recognises by
// the first bytes: types of media are wrong too often. The caller calls done.
func Decompress(r io.Reader) (_ io.Reader, done func(), err error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() { z.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}

// meter ends reading with the context, and reports progress.
type meter struct {
	ctx      context.Context
	r        io.Reader
	progress func(int)
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	if m.progress != nil && n > 0 {
		m.progress(n)
	}
	return n, err
}

// bounded counts what is read of all layers.
type bounded struct {
	r     io.Reader
	spool *Spool
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	limits := &b.spool.limits
	total := b.spool.bytes.Add(int64(n))
	if total > limits.Bytes {
		return 0, fmt.Errorf("%w: the layers have more than %d bytes", cmp.Or(limits.Full, ErrTooLarge), limits.Bytes)
	}
	if limits.Ask != nil && total/limits.AskEvery > (total-int64(n))/limits.AskEvery {
		if err := limits.Ask(); err != nil {
			return 0, err
		}
	}
	return n, err
}

//go:build linux

package erofs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
)

const (
	blockBits = 12
	blockSize = 1 << blockBits
	// chunk is how much is written at once, and between looks at the context.
	chunk = 64 * blockSize
)

var zeros [chunk]byte

// output writes the image from its begin to its end, and digests it. Blocks of zeros
// become holes of the file.
type output struct {
	ctx  context.Context
	f    *os.File
	pos  int64
	most int64 // 0 means no limit.
	sum  hash.Hash
	buf  [chunk]byte
	fill int // How much of buf waits to be written.
}

func newOutput(ctx context.Context, f *os.File, most int64) *output {
	return &output{ctx: ctx, f: f, sum: sha256.New(), most: most}
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := copy(o.buf[o.fill:], p[done:])
		done += n
		if err := o.took(n); err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// took counts n bytes more in the buffer, and writes a full one.
func (o *output) took(n int) error {
	o.pos += int64(n)
	if o.fill += n; o.fill == len(o.buf) {
		return o.flush()
	}
	return nil
}

// flush writes the buffer, which begins at a block, but for blocks of zeros.
func (o *output) flush() error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if o.most > 0 && o.pos > o.most {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, o.most)
	}
	data, at := o.buf[:o.fill], o.pos-int64(o.fill)
	o.sum.Write(data)
	o.fill = 0
	isHole := func(from int) bool {
		to := min(from+blockSize, len(data))
		return bytes.Equal(data[from:to], zeros[:to-from])
	}
	for from := 0; from < len(data); {
		to := from
		for to < len(data) && !isHole(to) {
			to = min(to+blockSize, len(data))
		}
		if to > from {
			if _, err := o.f.WriteAt(data[from:to], at+int64(from)); err != nil {
				return err
			}
		}
		from = max(to, from+blockSize)
	}
	return nil
}

// skip writes n zeros.
func (o *output) skip(n int64) error {
	for n > 0 {
		m := min(n, int64(len(zeros)))
		if _, err := o.Write(zeros[:m]); err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// align fills the block with zeros.
func (o *output) align() error { return o.skip(-o.pos & (blockSize - 1)) }

// block is the number of the block that begins here.
func (o *output) block() (uint32, error) {
	if o.pos>>blockBits >= math.MaxUint32 {
		return 0, errors.New("the image has too many blocks")
	}
	return uint32(o.pos >> blockBits), nil
}

// copyFrom writes what r has, of which at most size bytes, and returns how much it had.
func (o *output) copyFrom(r io.Reader, size int64) (n int64, err error) {
	var more [1]byte
	for {
		room := o.buf[o.fill:min(len(o.buf), o.fill+int(min(size-n, chunk)))]
		if len(room) == 0 {
			room = more[:]
		}
		got, err := r.Read(room)
		if n += int64(got); n > size {
			return n, nil
		}
		if got > 0 {
			if err := o.took(got); err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

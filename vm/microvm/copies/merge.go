//go:build linux

package copies

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// NonZero copies a file of a given size to a new one, which has holes where there are only zeros. The caller makes it durable.
func NonZero(from *os.File, to string, size int64) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(size); err != nil {
		return err
	}
	const part = 64 << 10
	buf, zeros := make([]byte, 16*part), make([]byte, part)
	return extents(from, size, func(begin, end int64) error {
		for begin < end {
			n, err := from.ReadAt(buf[:min(int64(len(buf)), end-begin)], begin)
			if n == 0 {
				return errors.Join(err, io.ErrUnexpectedEOF)
			}
			for at := 0; at < n; at += part {
				piece := buf[at:min(at+part, n)]
				if bytes.Equal(piece, zeros[:len(piece)]) {
					continue
				}
				if _, err := out.WriteAt(piece, begin+int64(at)); err != nil {
					return err
				}
			}
			begin += int64(n)
		}
		return nil
	})
}

// Over writes what a file of a given size has over another one, and leaves the other as it is where the file has holes.
func Over(from *os.File, to string, size int64) error {
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	return extents(from, size, func(begin, end int64) error { return copyRange(out, from, begin, end) })
}

// extents calls f for each part of a file that is not a hole.
func extents(file *os.File, size int64, f func(begin, end int64) error) error {
	for at := int64(0); at < size; {
		begin, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // Only holes are left.
		} else if err != nil {
			return err
		}
		end, err := unix.Seek(int(file.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if begin >= size {
			return nil
		}
		if err := f(begin, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

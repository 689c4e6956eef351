//go:build linux

package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// spool is an upload that is complete before its file is touched, or what of it
// found room beside the file.
type spool struct {
	file *os.File // Nameless.
	size int64
	// rest is what comes after that; nil where everything is here.
	rest io.Reader
	// pending is how much of rest is in memory.
	pending int64
}

// spoolBeside stores contents in a nameless file on the file system of path, up to
// where that is full.
func spoolBeside(path string, contents io.Reader) (_ *spool, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".upload-*")
	if err != nil {
		return nil, err
	}
	s := &spool{file: f}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	buf := make([]byte, buffer)
	for {
		n, err := io.ReadFull(contents, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF { // Not those of the body, which are wrapped.
			return nil, err
		}
		if _, werr := f.WriteAt(buf[:n], s.size); full(werr) {
			s.rest, s.pending = io.MultiReader(bytes.NewReader(buf[:n]), contents), int64(n)
			return s, f.Truncate(s.size)
		} else if werr != nil {
			return nil, werr
		}
		if s.size += int64(n); err != nil {
			return s, nil
		}
	}
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// ending is more than what follows the last file of a multipart body.
const ending = 1 << 10

// moveTo gives f the contents of the upload. If the disk has no room for both, the
// spooled bytes move from their end, so that no byte is stored twice. What cannot fit at all
// is refused before f is touched; left is how much is not read yet, or -1.
func (s *spool) moveTo(f *os.File, left int64) error {
	room, err := roomFor(f)
	if err != nil {
		return err
	}
	beside, err := sameDevice(f, s.file)
	if err != nil {
		return err
	}
	need := int64(0)
	if s.rest != nil && left >= 0 {
		need = s.pending + left - ending
	}
	if !beside { // A link led elsewhere: what is spooled gives no room to it.
		need += s.size
	}
	if need > room {
		return fmt.Errorf("%d bytes are missing: %w", need-room, unix.ENOSPC)
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if s.rest == nil && s.size+buffer < room {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return fill(f, s.file)
	}
	if err := s.moveFromEnd(f); err != nil || s.rest == nil {
		return err
	}
	if _, err := f.Seek(s.size, io.SeekStart); err != nil {
		return err
	}
	return fill(f, s.rest)
}

func sameDevice(f, g *os.File) (bool, error) {
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &a), unix.Fstat(int(g.Fd()), &b)); err != nil {
		return false, fmt.Errorf("file systems of an upload: %w", err)
	}
	return a.Dev == b.Dev, nil
}

// roomFor is how large f can become.
func roomFor(f *os.File) (int64, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(f.Fd()), &fs), unix.Fstat(int(f.Fd()), &st)); err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	if fs.Blocks == 0 || fs.Bfree > math.MaxInt64/2/uint64(max(fs.Bsize, 1)) {
		return math.MaxInt64, nil // It does not say, or has no bound.
	}
	return int64(fs.Bfree)*fs.Bsize + st.Blocks*512, nil
}

func (s *spool) moveFromEnd(f *os.File) error {
	buf := make([]byte, buffer)
	for end := s.size; end > 0; {
		start := max(0, end-int64(len(buf)))
		chunk := buf[:end-start]
		if _, err := s.file.ReadAt(chunk, start); err != nil {
			return err
		}
		if err := s.file.Truncate(start); err != nil {
			return err
		}
		if _, err := f.WriteAt(chunk, start); err != nil {
			return err
		}
		end = start
	}
	return nil
}

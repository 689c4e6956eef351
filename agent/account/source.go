package account

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// maxFileBytes bounds a passwd or group file.
const maxFileBytes = 4 << 20

// source is a file that is read again only when its stat data changed.
type source struct {
	path string

	known bool
	info  os.FileInfo
	mtime time.Time
}

// read returns the text if it differs from what the last call saw. A missing
// file reads as empty.
func (s *source) read() (text string, changed bool, err error) {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		changed = !s.known || s.info != nil
		s.known, s.info = true, nil
		return "", changed, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read accounts: %w", err)
	}
	if s.known && s.info != nil && os.SameFile(s.info, info) && s.info.Size() == info.Size() && s.mtime.Equal(info.ModTime()) {
		return "", false, nil
	}
	// O_NONBLOCK: the guest may have put a FIFO here.
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", false, fmt.Errorf("read accounts: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return "", false, fmt.Errorf("read accounts: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", false, fmt.Errorf("read accounts: %s is not a regular file", s.path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", false, fmt.Errorf("read accounts: %w", err)
	}
	if len(b) > maxFileBytes {
		return "", false, fmt.Errorf("read accounts: %s is larger than %d bytes", s.path, maxFileBytes)
	}
	s.known, s.info, s.mtime = true, info, info.ModTime()
	return string(b), true, nil
}

// Package rotate writes the daemon's own log to a file that does not grow
// without bound. It executes the plan of policy/hygiene, which it may
// import beside the standard library; only cmd may import it.
package rotate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/rundlet/rundlet/policy/hygiene"
)

// Options say how a log is kept.
type Options struct {
	// Rotation is when the file is rotated and what is kept.
	Rotation hygiene.Rotation
	// Fallback gets the lines that the file did not take, as on a full disk;
	// nil: they are lost, and Write says so.
	Fallback io.Writer
}

// File is a log file that is rotated before it gets longer than MaxBytes: a
// line is never split, and a longer one is alone in its file. It is safe for concurrent use. One process writes to a path at a time.
//
// A failure costs no line and does not end the daemon. While the file cannot be
// rotated it grows, and rotation is tried again each time that it has grown by
// an eighth of MaxBytes. Err returns what went wrong.
type File struct {
	path string
	opts Options
	open func(path string) (file, error)

	mu     sync.Mutex
	f      file // nil after Close.
	size   int64
	due    int64 // The size from which rotation is tried.
	closed bool

	compressing sync.WaitGroup

	errMu sync.Mutex
	err   error
}

// file is the part of an *os.File that a File uses.
type file interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

func openLog(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Open opens the log at path, or makes it, readable by its owner only. What is
// in it already stays and counts. The directory must exist, and MaxBytes be
// positive.
func Open(path string, opts Options) (*File, error) {
	return openWith(path, opts, openLog)
}

func openWith(path string, opts Options, open func(string) (file, error)) (*File, error) {
	if opts.Rotation.MaxBytes <= 0 {
		return nil, fmt.Errorf("open log %s: max size must be positive, got %d", path, opts.Rotation.MaxBytes)
	}
	w := &File{path: filepath.Clean(path), opts: opts, open: open}
	f, size, err := w.openCurrent()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	w.begin(f, size)
	return w, nil
}

// openCurrent opens the file at the path and returns it with its size.
func (w *File) openCurrent() (file, int64, error) {
	f, err := w.open(w.path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (w *File) begin(f file, size int64) {
	w.f, w.size, w.due = f, size, w.opts.Rotation.MaxBytes
}

// Write appends p, which is one line or several whole ones. It fails only if
// neither the file nor the fallback took p, or after Close.
func (w *File) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, &fs.PathError{Op: "write", Path: w.path, Err: fs.ErrClosed}
	}
	if w.size > 0 && w.size+int64(len(p)) > w.due {
		if err := w.rotate(); err != nil {
			w.fail(err)
			w.due = w.size + int64(len(p)) + max(w.opts.Rotation.MaxBytes/8, 1)
		}
	}
	n, err := w.f.Write(p)
	if err == nil {
		w.size += int64(n)
		return n, nil
	}
	w.fail(err)
	if n > 0 && w.f.Truncate(w.size) != nil { // Half a line is not kept.
		w.size += int64(n)
	}
	if w.opts.Fallback == nil {
		return 0, err
	}
	return w.opts.Fallback.Write(p)
}

// Close waits for a compression that runs, and closes the file. Only the first
// call has an effect.
func (w *File) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	w.compressing.Wait()
	return w.f.Close()
}

// Err returns the newest failure of a rotation, a compression or a write since
// the last call; nil if there was none.
func (w *File) Err() error {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	err := w.err
	w.err = nil
	return err
}

func (w *File) fail(err error) {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	w.err = err
}

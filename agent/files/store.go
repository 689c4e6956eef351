//go:build linux

package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/metadata"
	"github.com/rundlet/rundlet/agent/owned"
)

// headBytes is how much of an upload is in memory before its file is touched.
const headBytes = 256 << 10

// bodyError marks an error of the client's side of a copy.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

type bodyReader struct{ r io.Reader }

func (b bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		err = &bodyError{err}
	}
	return n, err
}

// store writes a file in place, so that links and watchers see what they
// expect. A broken body changes nothing: a new file is removed again, and an
// old one is not touched until the new contents are complete.
func store(path string, body io.Reader, u account.User, meta map[string]string) error {
	err := replace(path, bodyReader{body}, u, meta)
	var broken *bodyError
	if errors.As(err, &broken) {
		return fail(http.StatusBadRequest, "read body: %w", err)
	}
	return err
}

func replace(path string, body io.Reader, u account.User, meta map[string]string) (err error) {
	info, err := os.Stat(path)
	exists := err == nil
	switch {
	case exists && info.IsDir():
		return fail(http.StatusBadRequest, "path '%s' is a directory", path)
	case exists && !info.Mode().IsRegular():
		return fail(http.StatusBadRequest, "path '%s' is not a regular file", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	rest, head, err := readHead(body)
	if err != nil {
		return err
	}
	if err := owned.MkdirAll(filepath.Dir(path), u); err != nil {
		return err
	}
	var contents io.Reader = bytes.NewReader(head)
	if rest != nil {
		contents = io.MultiReader(contents, rest)
	}
	if rest != nil && exists {
		spool, err := spoolBeside(path, contents)
		if err != nil {
			return err
		}
		defer spool.Close()
		contents = spool
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	made := path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		made = target // A link that led nowhere stays.
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil && !exists {
			os.Remove(made)
		}
	}()
	if err := f.Chown(int(u.UID), int(u.GID)); err != nil {
		return fmt.Errorf("give file to %s: %w", u.Name, err)
	}
	if err := fill(f, contents); err != nil {
		return err
	}
	return metadata.Replace(f, meta)
}

// readHead reads up to headBytes; rest is nil if that was all.
func readHead(body io.Reader) (rest io.Reader, head []byte, err error) {
	b := bytes.NewBuffer(make([]byte, 0, 32<<10))
	_, err = io.CopyN(b, body, headBytes)
	if errors.Is(err, io.EOF) {
		return nil, b.Bytes(), nil
	}
	if err != nil {
		return nil, nil, err
	}
	return body, b.Bytes(), nil
}

// buffer is how much is read and written at a time: a system call costs a guest
// much more than a host, and the parser of multipart bodies hands out 4 KiB.
const buffer = 256 << 10

// fill copies contents to f.
func fill(f *os.File, contents io.Reader) error {
	w := bufio.NewWriterSize(struct{ io.Writer }{f}, buffer) // The file's own ReadFrom has no buffer.
	if _, err := w.ReadFrom(contents); err != nil {
		return err
	}
	return w.Flush()
}

// spoolBeside stores contents in a nameless file on the file system of path.
func spoolBeside(path string, contents io.Reader) (_ *os.File, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".upload-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if err := fill(f, contents); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return f, nil
}

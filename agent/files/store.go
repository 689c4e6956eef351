//go:build linux

package files

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

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

// incoming is one file of an upload.
type incoming struct {
	turns *turns
	path  string
	user  account.User
	meta  map[string]string
	body  io.Reader
	// left is how much of the request was not read yet, or -1.
	left func() int64
}

// store writes a file in place, so that links and watchers see what they expect. Of
// uploads at the same time the last one to get its turn stays, whole. A broken body
// changes nothing: a new file is removed again, and an old one is not touched until
// the new contents are complete, unless the disk has no room for both.
func (in incoming) store(ctx context.Context) error {
	in.body = bodyReader{in.body}
	err := in.replace(ctx)
	var broken *bodyError
	if errors.As(err, &broken) {
		return fail(http.StatusBadRequest, "read body: %w", err)
	}
	return err
}

func (in incoming) replace(ctx context.Context) error {
	info, err := os.Stat(in.path)
	if err == nil {
		err = regular(in.path, info)
	}
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	rest, head, err := readHead(in.body)
	if err != nil {
		return err
	}
	if err := owned.MkdirAll(filepath.Dir(in.path), in.user); err != nil {
		return err
	}
	var sp *spool
	contents := io.MultiReader(bytes.NewReader(head), in.body)
	if rest != nil && exists {
		if sp, err = spoolBeside(in.path, contents); err != nil {
			return err
		}
		defer sp.file.Close()
	}
	t, err := in.open(ctx)
	if err != nil {
		return err
	}
	if rest != nil && sp == nil && !t.created { // Somebody made it meanwhile.
		if err := t.close(nil); err != nil {
			return err
		}
		if sp, err = spoolBeside(in.path, contents); err != nil {
			return err
		}
		defer sp.file.Close()
		if t, err = in.open(ctx); err != nil {
			return err
		}
	}
	switch {
	case sp != nil:
		err = in.write(t, func() error { return sp.moveTo(t.File, in.left()) })
	case rest != nil:
		err = in.write(t, func() error { return fill(t.File, contents) })
	default:
		err = in.write(t, func() error { return t.overwrite(head) })
	}
	return t.close(err)
}

// write gives the file to its user before a client sends what goes into it, and
// leaves an old one alone until its contents are there.
func (in incoming) write(t *target, contents func() error) error {
	give := func() error {
		if err := t.Chown(int(in.user.UID), int(in.user.GID)); err != nil {
			return fmt.Errorf("give file to %s: %w", in.user.Name, err)
		}
		return nil
	}
	steps := []func() error{contents, give}
	if t.created {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return metadata.Replace(t.File, in.meta)
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

//go:build linux

// Package unpack puts files of a tar archive into the guest, as a COPY step of a template's build does. It works as root
// on an archive that a client made: nothing of it is written outside a temporary directory before it is complete. It may
// import agent/account, agent/move and agent/owned; agent/files imports it.
package unpack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"github.com/rundlet/rundlet/agent/account"
)

// Request is a COPY step.
type Request struct {
	// Source is a path or a pattern, relative to the root of the archive.
	Source string
	// Destination is absolute.
	Destination string
	// Into says that Destination is a directory, even if nothing is there yet. A file is put into a Destination
	// that is a directory in any case.
	Into bool
	// Owner gets the copied files and the directories that are made for them.
	Owner account.User
	// Mode is that of all files and directories that the archive has entries for; nil is theirs, without set-id and
	// sticky bits.
	Mode *fs.FileMode
}

// InvalidError is an error of the request, its archive, or what is at its destination.
type InvalidError struct{ err error }

func (e *InvalidError) Error() string { return e.err.Error() }
func (e *InvalidError) Unwrap() error { return e.err }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Errorf(format, args...)} }

// Copy puts what a request names of an archive, which may be compressed with gzip, to its destination. It reads the
// archive to its end before it touches the destination. A file is replaced as a whole, by one that has not its inode;
// a directory that exists keeps its owner, mode and entries. Errors are *InvalidError, and those of the system.
func Copy(archive io.Reader, req Request) (err error) {
	wanted, err := parse(req.Source)
	if err != nil {
		return err
	}
	// Beside the destination, so that files are renamed and not copied. Others see nothing of it.
	stage, err := os.MkdirTemp(existing(req.Destination), ".rundlet-copy-*")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	t, err := newTree(filepath.Join(stage, "context"), req)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.read(archive); err != nil {
		return err
	}
	name, found := t.find(wanted)
	if !found {
		return invalid("no files matched %.200q", req.Source)
	}
	return t.place(name, req)
}

// existing returns the directory at path, or else the nearest one above it.
func existing(path string) string {
	for path != "/" && !isDir(path) {
		path = filepath.Dir(path)
	}
	return path
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// buffer is how much is read and written at a time: a system call costs a guest much more than a host.
const buffer = 256 << 10

// maxPadding bounds what may follow the end of an archive, which fills up the last record of a tape.
const maxPadding = 1 << 20

// decompressed returns an archive without its compression.
func decompressed(archive io.Reader) (io.Reader, error) {
	r := bufio.NewReaderSize(archive, buffer)
	if magic, err := r.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return r, nil // Whatever is wrong shows when it is read.
	}
	return gzip.NewReader(r)
}

// whole reads an archive, and knows whether it ended before its reader wanted.
type whole struct {
	r     io.Reader
	short bool
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.short = w.short || n == 0 && errors.Is(err, io.EOF)
	return n, err
}

// rest reads what follows the end of an archive. Only after that is it known to have arrived as a whole.
func (w *whole) rest() error {
	if w.short {
		return io.ErrUnexpectedEOF
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(w.r, maxPadding+1)); err != nil {
		return err
	} else if n > maxPadding {
		return errors.New("there is more after its end")
	}
	return nil
}

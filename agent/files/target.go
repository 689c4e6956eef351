//go:build linux

package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// target is an open file whose turn it is to be written.
type target struct {
	*os.File
	path    string
	turn    *turn
	created bool
	release func()
}

// maxOpens bounds the attempts to open a file that others replace all the time.
const maxOpens = 100

// open returns the file at the path when no other upload writes it. It makes one if
// there is none.
func (in incoming) open(ctx context.Context) (*target, error) {
	for range maxOpens {
		t, err := in.tryOpen(ctx)
		if t != nil || err != nil {
			return t, err
		}
	}
	return nil, fail(http.StatusConflict, "path '%s' is replaced again and again", in.path)
}

// tryOpen returns nothing if the path leads to another file by now.
func (in incoming) tryOpen(ctx context.Context) (_ *target, err error) {
	t := &target{path: in.path}
	if t.File, t.created, err = openOrCreate(in.path); err != nil {
		return nil, err
	}
	info, err := t.Stat()
	if err == nil {
		err = regular(in.path, info)
	}
	if err == nil {
		t.turn, t.release, err = in.turns.wait(ctx, idOf(info))
	}
	if err != nil {
		t.File.Close()
		return nil, err
	}
	now, err := os.Stat(in.path)
	if err == nil && os.SameFile(now, info) {
		t.created = t.created && now.Size() == 0 // Else another upload was faster.
		return t, nil
	}
	t.created = false // It is not at the path any more.
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, t.close(err)
}

func openOrCreate(path string) (f *os.File, created bool, err error) {
	const flags = os.O_WRONLY | syscall.O_NONBLOCK
	f, err = os.OpenFile(path, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, false, err
	}
	f, err = os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o644)
	if !errors.Is(err, fs.ErrExist) {
		return f, true, err
	}
	// A link that leads nowhere, or somebody was faster.
	link, lerr := os.Lstat(path)
	f, err = os.OpenFile(path, flags|os.O_CREATE, 0o644)
	return f, lerr == nil && link.Mode()&fs.ModeSymlink != 0, err
}

func regular(path string, info os.FileInfo) error {
	switch {
	case info.IsDir():
		return fail(http.StatusBadRequest, "path '%s' is a directory", path)
	case !info.Mode().IsRegular():
		return fail(http.StatusBadRequest, "path '%s' is not a regular file", path)
	}
	return nil
}

// close ends the turn. With an error it removes a file that the upload made.
func (t *target) close(err error) error {
	defer t.release()
	info, serr := t.Stat()
	if cerr := t.File.Close(); err == nil {
		err = cerr
	}
	if err == nil || !t.created || serr != nil {
		return err
	}
	made := t.path
	if target, err := filepath.EvalSymlinks(made); err == nil {
		made = target // A link that led nowhere stays.
	}
	if now, serr := os.Lstat(made); serr == nil && os.SameFile(now, info) {
		os.Remove(made)
	}
	return err
}

// overwrite replaces all contents with a few, without a moment at which the file is
// empty. Where they find no room, the old ones stay.
func (t *target) overwrite(data []byte) error {
	t.turn.content.Lock()
	defer t.turn.content.Unlock()
	info, err := t.Stat()
	if err != nil {
		return err
	}
	old := make([]byte, 0)
	if size := info.Size(); size > 0 && (size < int64(len(data)) || hasHoles(info)) {
		if old, err = contentsOf(t.path, info); err != nil {
			return err
		}
	}
	if _, err := t.WriteAt(data, 0); err != nil {
		if _, werr := t.WriteAt(old[:min(len(old), len(data))], 0); werr == nil {
			_ = t.Truncate(info.Size())
		}
		return err
	}
	return t.Truncate(int64(len(data)))
}

// hasHoles reports whether a file may need more room for as many bytes.
func hasHoles(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || st.Blocks*512 < info.Size()
}

// contentsOf reads a small file, or as much of a larger one as overwrite replaces.
func contentsOf(path string, info os.FileInfo) ([]byte, error) {
	f, now, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !os.SameFile(now, info) {
		return nil, fail(http.StatusConflict, "path '%s' was replaced meanwhile", path)
	}
	return io.ReadAll(io.LimitReader(f, headBytes))
}

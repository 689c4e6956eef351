//go:build linux

package unpack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/agent/move"
	"github.com/rundlet/rundlet/agent/owned"
)

// place moves a file or the contents of a directory from the tree to the destination of a request.
func (t *tree) place(name string, req Request) error {
	src, dst := filepath.Join(t.path, name), req.Destination
	_, contents := t.dirs[name]
	if !contents && (req.Into || isDir(dst)) {
		dst = filepath.Join(dst, filepath.Base(name))
	}
	parent := filepath.Dir(dst)
	if err := owned.MkdirAll(parent, req.Owner); err != nil {
		return fmt.Errorf("make %.200q: %w", parent, cause(err))
	}
	if contents {
		return merge(src, dst)
	}
	return put(src, dst)
}

// merge moves a directory to dst, or what is in it to the directory that is there.
func merge(src, dst string) error {
	info, err := os.Stat(dst)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return rename(src, dst)
	case err != nil:
		return fmt.Errorf("look at %.200q: %w", dst, cause(err))
	case !info.IsDir():
		return invalid("%.200q is not a directory, and what is copied there is one", dst)
	}
	entries, err := os.ReadDir(src)
	if err != nil {
		return fmt.Errorf("copy to %.200q: %w", dst, cause(err))
	}
	for _, e := range entries {
		step := put
		if e.IsDir() {
			step = merge
		}
		if err := step(filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// put moves a file or a link to dst, in place of what is there.
func put(src, dst string) error {
	if info, err := os.Lstat(dst); err == nil && info.IsDir() {
		return invalid("%.200q is a directory, and what is copied there is a file", dst)
	}
	return rename(src, dst)
}

func rename(src, dst string) error {
	if err := move.Path(src, dst); err != nil {
		return fmt.Errorf("write %.200q: %w", dst, cause(err))
	}
	return nil
}

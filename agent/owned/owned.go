//go:build linux

// Package owned creates what belongs to a guest user: the agent works as root
// and gives away what it makes. It may import agent/account; agent/files,
// agent/filesystem and agent/unpack import it.
package owned

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/agent/account"
)

// MkdirAll creates a directory and its missing parents for u. It is not an error
// if the directory exists.
func MkdirAll(path string, u account.User) error {
	info, err := os.Stat(path)
	if err == nil {
		if info.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if parent := filepath.Dir(path); parent != path {
		if err := MkdirAll(parent, u); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return existing(path)
		}
		return err
	}
	if err := os.Chown(path, int(u.UID), int(u.GID)); err != nil {
		return fmt.Errorf("give directory to %s: %w", u.Name, err)
	}
	return nil
}

// existing checks that another made the directory meanwhile; a dangling
// link in its place is an error, not an endless attempt.
func existing(path string) error {
	if info, err := os.Stat(path); err != nil {
		return err
	} else if !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	return nil
}

//go:build linux

// Package move moves files of the guest, also to other file systems. It may import
// agent/metadata; agent/filesystem and agent/unpack import it.
package move

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rundlet/rundlet/agent/metadata"
)

// Path renames src to dst; where that crosses file systems it copies and removes, and dst
// is the old or the new one at any time. What rename(2) does with a dst that exists holds.
func Path(src, dst string) error {
	err := os.Rename(src, dst)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	if dst == src || strings.HasPrefix(dst, src+"/") {
		return &fs.PathError{Op: "move", Path: dst, Err: syscall.EINVAL}
	}
	if err := moveAcross(src, dst); err != nil {
		return err
	}
	return os.RemoveAll(src)
}

// moveAcross copies beside dst first, so that dst is the old or the new one.
func moveAcross(src, dst string) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".move-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	copied := filepath.Join(tmp, "copy")
	if err := copyTree(src, copied); err != nil {
		return err
	}
	return os.Rename(copied, dst)
}

// copyTree copies files, directories and links with owner, mode, time and
// metadata. Other kinds of file cannot be moved to another file system.
func copyTree(src, dst string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(src)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, dst); err != nil {
			return err
		}
		return chown(dst, info)
	case info.IsDir():
		if err := os.Mkdir(dst, 0o700); err != nil {
			return err
		}
		list, err := os.ReadDir(src)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := copyTree(filepath.Join(src, d.Name()), filepath.Join(dst, d.Name())); err != nil {
				return err
			}
		}
	case info.Mode().IsRegular():
		if err := copyFile(src, dst); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is a special file: %w", src, syscall.EINVAL)
	}
	if err := chown(dst, info); err != nil {
		return err
	}
	// After chown, which clears the set-id bits.
	if err := os.Chmod(dst, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(dst, info.ModTime(), info.ModTime())
}

func chown(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}

func copyFile(src, dst string) (err error) {
	in, err := os.OpenFile(src, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return metadata.Replace(out, metadata.Read(src))
}

//go:build linux

// Package rootstate reports what a machine that boots from the files of the guest's root would lack, and makes there what an image of
// the root cannot have. It may import envd, golang.org/x/sys and the standard library; only the agent imports it.
package rootstate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/envd"
)

const (
	mostLost        = 8
	mostExtras      = 2000
	mostExtrasBytes = 256 << 10 // of their paths and attributes
)

// mounts are where every guest has something else than its root. The bool says whether files that are made there are lost. The last
// one is the agent's.
var mounts = map[string]bool{"/proc": false, "/sys": false, "/dev": true, "/dev/pts": false, "/dev/shm": true, "/tmp": true,
	"/proc/sys/kernel/random/boot_id": false}

// devices are what every guest has in /dev.
var devices = []string{"block", "char", "console", "fd", "full", "fuse", "mqueue", "net", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}

// Of looks at the guest whose root is at a path: all files of it, all processes and all mounts. If less than so many bytes were written to
// the root, it says only that: to look at all files takes seconds where a file server has them.
func Of(ctx context.Context, root string, least int64) (envd.RootState, error) {
	root = filepath.Join("/", root)
	l := &look{ctx: ctx, root: root, mounts: map[string]bool{}}
	var disk unix.Statfs_t
	if err := unix.Statfs(root, &disk); err != nil {
		return envd.RootState{}, &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	l.state.LayerBytes = int64(disk.Blocks-disk.Bfree) * disk.Bsize
	if l.state.LayerBytes < least {
		return l.state, nil
	}
	for _, of := range []func() error{l.processes, l.mounted, l.outside, l.files} {
		if err := of(); err != nil {
			return envd.RootState{}, err
		}
	}
	return l.state, nil
}

type look struct {
	ctx    context.Context
	root   string
	state  envd.RootState
	mounts map[string]bool // below the root
	bytes  int             // of extras
	buffer []byte
}

func (l *look) lost(format string, args ...any) {
	if len(l.state.Lost) < mostLost {
		l.state.Lost = append(l.state.Lost, fmt.Sprintf(format, args...))
	}
}

// processes finds all but this one. One that has ended and waits for its parent is none.
func (l *look) processes() error {
	entries, err := os.ReadDir(filepath.Join(l.root, "proc"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(l.root, "proc", e.Name(), "stat"))
		if err != nil {
			continue // It has ended.
		}
		name, rest, _ := cutLast(string(stat), ")")
		if state := strings.TrimSpace(rest); !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X") {
			_, name, _ = strings.Cut(name, "(")
			l.lost("the process %d (%.100q) runs", pid, name)
		}
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// mounted finds what is mounted.
func (l *look) mounted() error {
	data, err := os.ReadFile(filepath.Join(l.root, "proc/self/mountinfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] == "/" {
			continue
		}
		at := fields[4]
		if _, known := mounts[at]; !known || l.mounts[at] {
			l.lost("something is mounted at %.300q", at)
		}
		l.mounts[at] = true
	}
	return nil
}

// outside finds files in mounts.
func (l *look) outside() error {
	for at, counts := range mounts {
		if !counts || !l.mounts[at] {
			continue
		}
		top := filepath.Join(l.root, at)
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			name := filepath.Join("/", strings.TrimPrefix(path, l.root))
			switch {
			case err != nil || path == top:
				return err
			case at != "/dev", filepath.Dir(path) == top && !slices.Contains(devices, e.Name()), e.Type()&(fs.ModeDir|fs.ModeDevice|fs.ModeSymlink) == 0:
				l.lost("%.300q is in memory", name)
			case !l.mounts[name]:
				return nil
			}
			return skip(e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// skip leaves out what is in a directory.
func skip(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// walk visits all files of the root, and nothing that is mounted over it.
func (l *look) walk(visit func(path, name string, st *unix.Stat_t) error) error {
	return filepath.WalkDir(l.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = l.ctx.Err()
		}
		if err != nil {
			return err
		}
		name := filepath.Join("/", strings.TrimPrefix(path, l.root))
		if name != "/" && l.mounts[name] {
			return skip(e)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		return visit(path, name, &st)
	})
}

// written is a file that the agent has written. An overlay shows files of its image with another number of their device.
const written = "/run/rundlet/boot_id"

// files looks at all files of the root.
func (l *look) files() error {
	var own unix.Stat_t
	known := unix.Lstat(filepath.Join(l.root, written), &own) == nil
	return l.walk(func(path, name string, st *unix.Stat_t) (err error) {
		x := envd.Extra{Path: []byte(name), Mode: st.Mode}
		special := false
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			if !known || st.Dev == own.Dev {
				l.state.LargestBytes = max(l.state.LargestBytes, st.Size)
			}
		case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
			special = true
			x.UID, x.GID, x.Device, x.Modified = st.Uid, st.Gid, uint64(st.Rdev), nanoseconds(st.Mtim)
		}
		if x.Attributes, err = l.attributes(path); err != nil {
			return err
		}
		if !special && len(x.Attributes) == 0 {
			return nil
		}
		if l.extra(x); st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			l.lost("%.300q has several names", name) // Such a file in an image becomes another one for each name that is changed.
		}
		return nil
	})
}

func (l *look) extra(x envd.Extra) {
	l.bytes += len(x.Path)
	for name, value := range x.Attributes {
		l.bytes += len(name) + len(value)
	}
	if len(l.state.Extras) >= mostExtras || l.bytes > mostExtrasBytes {
		l.lost("there are too many special files and extended attributes")
		return
	}
	l.state.Extras = append(l.state.Extras, x)
}

// Times writes the times of change of all files of the root whose time has a fraction of a second: for each its absolute path, a NUL, and eight
// bytes with the nanoseconds since 1970, the highest first.
func Times(ctx context.Context, root string, w io.Writer) error {
	l := &look{ctx: ctx, root: filepath.Join("/", root), mounts: map[string]bool{}}
	if err := l.mounted(); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	err := l.walk(func(_, name string, st *unix.Stat_t) error {
		if st.Mtim.Nsec == 0 {
			return nil
		}
		record := append([]byte(name), 0)
		_, err := out.Write(binary.BigEndian.AppendUint64(record, uint64(nanoseconds(st.Mtim))))
		return err
	})
	return errors.Join(err, out.Flush())
}

// nanoseconds returns a time since 1970. Before 1970 gVisor gives the seconds rounded up, and the negative rest as a number of 32 bits without a sign.
func nanoseconds(t unix.Timespec) int64 {
	if t.Nsec >= int64(time.Second) {
		t.Nsec = int64(int32(uint32(t.Nsec)))
	}
	return t.Nano()
}

// maxAttributes is the most that Linux has for the names of a file's attributes, and for one value.
const maxAttributes = 64 << 10

// attributes reads the extended attributes of a file; nil where it has none.
func (l *look) attributes(path string) (map[string][]byte, error) {
	if l.buffer == nil {
		l.buffer = make([]byte, maxAttributes)
	}
	n, err := unix.Llistxattr(path, l.buffer)
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "list attributes of", Path: path, Err: err}
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(l.buffer[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(path, name, l.buffer)
		if err != nil {
			return nil, &os.PathError{Op: "read attribute " + name + " of", Path: path, Err: err}
		}
		all[name] = bytes.Clone(l.buffer[:n])
	}
	return all, nil
}

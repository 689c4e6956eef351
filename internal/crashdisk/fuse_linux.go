package crashdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// The names in the served directory. Opening cutName(p, s) makes the view.
const (
	diskName     = "disk"
	logName      = "log"      // Log.String
	positionName = "position" // Log.Position
)

func cutName(position int, seed uint64) string { return fmt.Sprintf("cut-%d-%d", position, seed) }

func parseCut(name string) (position int, seed uint64, ok bool) {
	p, s, _ := strings.Cut(strings.TrimPrefix(name, "cut-"), "-")
	position, err := strconv.Atoi(p)
	seed, errSeed := strconv.ParseUint(s, 10, 64)
	return position, seed, err == nil && errSeed == nil && name == cutName(position, seed)
}

// root is the served directory. It is never listed.
type root struct {
	fs.Inode
	log *Log
}

func (r *root) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n := &node{log: r.log, name: name}
	switch _, _, cut := parseCut(name); {
	case name == diskName, cut:
		n.size = uint64(r.log.size)
	case name == logName, name == positionName:
	default:
		return nil, syscall.ENOENT
	}
	out.Mode, out.Size = fuse.S_IFREG|0o600, n.size
	return r.NewInode(ctx, n, fs.StableAttr{Mode: fuse.S_IFREG}), 0
}

// node is a file of the directory.
type node struct {
	fs.Inode
	log  *Log
	name string
	size uint64
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = fuse.S_IFREG|0o600, n.size
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	switch n.name {
	case diskName:
		return file{n.log}, 0, 0
	case logName:
		return text(n.log.String()), fuse.FOPEN_DIRECT_IO, 0
	case positionName:
		return text(strconv.Itoa(n.log.Position())), fuse.FOPEN_DIRECT_IO, 0
	}
	position, seed, _ := parseCut(n.name)
	v, err := n.log.View(position, seed)
	if err != nil {
		return nil, 0, syscall.EINVAL
	}
	return file{v}, 0, 0
}

// text is a file that is read as it was when it was opened.
type text string

func (t text) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := copy(dest, t[min(off, int64(len(t))):])
	return fuse.ReadResultData(dest[:n]), 0
}

// file is an open disk.
type file struct{ device }

func (f file) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (f file) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := f.WriteAt(data, off)
	return uint32(n), errno(err)
}

func (f file) Fsync(context.Context, uint32) syscall.Errno { return errno(f.device.Flush()) }

// Flush is the close of a descriptor, and no flush of a disk.
func (f file) Flush(context.Context) syscall.Errno { return 0 }

func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	case errors.Is(err, errFrozen):
		return syscall.EROFS
	}
	return syscall.EIO
}

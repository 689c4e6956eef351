//go:build linux

package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxDirectory bounds the bytes of one directory that Walk reads at once.
const maxDirectory = 64 << 20

// maxDepth bounds the directories within each other: Walk recurses.
const maxDepth = 1024

// errDamaged says that a file is not an image that Make writes.
var errDamaged = errors.New("not an image that rundlet makes, or damaged")

// Walk calls visit for each name in an image that Make wrote, which r has, the root first and each directory before what is in it.
// A regular file has its File.Size bytes at content; File.Link is the same in all its names, and zero if it has one name only. The image may come
// from strangers: names and sizes are checked, but not how many names there are, since directories may be within others many times;
// visit ends that with an error, which Walk returns.
func Walk(r io.ReaderAt, visit func(path string, file File, content int64) error) error {
	head := make([]byte, blockSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	super, le := head[superOffset:], binary.LittleEndian
	if le.Uint32(super) != magic || super[12] != blockBits {
		return errDamaged
	}
	w := &walker{r: r, inodes: int64(le.Uint32(super[40:])) << blockBits, blocks: le.Uint32(super[36:]), visit: visit}
	return w.walk("", uint64(le.Uint16(super[14:])), 0)
}

type walker struct {
	r      io.ReaderAt
	inodes int64
	blocks uint32
	visit  func(string, File, int64) error
}

// walk visits the file of an inode, and all below it.
func (w *walker) walk(path string, number uint64, depth int) error {
	file, size, at, err := w.inode(number)
	if err != nil {
		return fmt.Errorf("%.300q: %w", path, err)
	}
	if err := w.visit(path, file, at); err != nil || file.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if depth >= maxDepth || len(path) > maxPath {
		return fmt.Errorf("%.300q: %w: its path is too long", path, errDamaged)
	}
	data, err := w.read(at, size, maxDirectory)
	if err != nil {
		return fmt.Errorf("%.300q: %w", path, err)
	}
	for len(data) > 0 {
		block := data[:min(len(data), blockSize)]
		data = data[len(block):]
		if err := w.directory(path, block, depth); err != nil {
			return err
		}
	}
	return nil
}

// directory visits the names in one block of a directory.
func (w *walker) directory(path string, block []byte, depth int) error {
	le := binary.LittleEndian
	bad := func() error { return fmt.Errorf("%.300q: %w", path, errDamaged) }
	if len(block) < dirent {
		return bad()
	}
	names := int(le.Uint16(block[8:]))
	if names == 0 || names%dirent != 0 || names > len(block) {
		return bad()
	}
	for at := 0; at < names; at += dirent {
		begin, end := int(le.Uint16(block[at+8:])), len(block)
		if at+dirent < names {
			end = int(le.Uint16(block[at+dirent+8:]))
		}
		if begin < names || begin > end || end > len(block) {
			return bad()
		}
		name := string(block[begin:end])
		if at+dirent == names {
			name, _, _ = strings.Cut(name, "\x00") // The rest of the block.
		}
		switch {
		case name == "." || name == "..":
			continue
		case name == "" || len(name) > maxName || strings.ContainsAny(name, "/\x00"):
			return bad()
		}
		if err := w.walk(strings.TrimPrefix(path+"/"+name, "/"), le.Uint64(block[at:]), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inode returns the file of an inode, and where its content is.
func (w *walker) inode(number uint64) (file File, size, content int64, err error) {
	begin := w.inodes + int64(number&(1<<40-1))*inodeUnit
	b := make([]byte, inodeSize)
	if _, err := w.r.ReadAt(b, begin); err != nil {
		return file, 0, 0, fmt.Errorf("%w: %w", errDamaged, err)
	}
	le := binary.LittleEndian
	format, mode := le.Uint16(b), uint32(le.Uint16(b[4:]))
	size = int64(le.Uint64(b[8:]))
	isPlain := format == isExtended || format == isExtended|isInline
	if !isPlain || le.Uint16(b[2:]) != 0 || size < 0 { // Images for guests have no attributes.
		return file, 0, 0, errDamaged
	}
	file = File{Mode: mode, UID: le.Uint32(b[24:]), GID: le.Uint32(b[28:]), Modified: time.Unix(int64(le.Uint64(b[32:])), int64(le.Uint32(b[40:])%1_000_000_000))}
	if content = int64(le.Uint32(b[16:])) << blockBits; format&isInline != 0 {
		content = begin + inodeSize
	}
	kind := mode & unix.S_IFMT
	if le.Uint32(b[44:]) > 1 && kind != unix.S_IFDIR {
		file.Link = Link{Inode: number}
	}
	switch kind {
	case unix.S_IFREG:
		if file.Size = size; size > 0 && content+size > int64(w.blocks)<<blockBits {
			err = errDamaged
		}
	case unix.S_IFLNK:
		var target []byte
		if target, err = w.read(content, size, maxTarget); err == nil {
			file.Target = string(target)
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		number := le.Uint32(b[16:])
		file.Major, file.Minor = number>>8&0xfff, number&0xff|number>>12&0xfff00
	}
	return file, size, content, err
}

// read returns what is at a place, of at most so many bytes.
func (w *walker) read(at, size, most int64) ([]byte, error) {
	if size > most || at < 0 {
		return nil, errDamaged
	}
	data := make([]byte, size)
	if _, err := w.r.ReadAt(data, at); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return data, nil
}

//go:build linux

package erofs

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The format is that of Linux, fs/erofs/erofs_fs.h: all numbers are little-endian.
const (
	superOffset = 1024
	magic       = 0xe0f5e1e2
	// hasChecksum and hasMtime are features that a reader need not know.
	hasChecksum, hasMtime = 1, 2
	uuidOffset            = superOffset + 48

	inodeSize  = 64
	inodeUnit  = 32 // An inode's number is its place in these.
	dirent     = 12
	isExtended = 1
	isInline   = 2 << 1
)

// firstInode is the place of the root: number 0 would look like no file.
const firstInode = inodeSize

// encode returns the inode as it is in the image, without what follows it.
func (i *inode) encode() []byte {
	b := make([]byte, inodeSize)
	le, format := binary.LittleEndian, uint16(isExtended)
	if i.inline {
		format |= isInline
	}
	le.PutUint16(b[0:], format)
	le.PutUint16(b[2:], uint16(attributesUnits(i.attributes)))
	le.PutUint16(b[4:], uint16(i.file.Mode))
	le.PutUint64(b[8:], i.size)
	switch i.kind() {
	case unix.S_IFCHR, unix.S_IFBLK:
		le.PutUint32(b[16:], i.file.Minor&0xff|i.file.Major<<8|i.file.Minor&^0xff<<12)
	default:
		le.PutUint32(b[16:], i.start)
	}
	le.PutUint32(b[20:], uint32(i.number()))
	le.PutUint32(b[24:], i.file.UID)
	le.PutUint32(b[28:], i.file.GID)
	le.PutUint64(b[32:], uint64(i.file.Modified.Unix()))
	le.PutUint32(b[40:], uint32(i.file.Modified.Nanosecond()))
	le.PutUint32(b[44:], i.links)
	return b
}

func (i *inode) number() uint64 { return uint64(i.at / inodeUnit) }

// direntTypes are the types of files as directories have them.
var direntTypes = map[uint32]byte{unix.S_IFREG: 1, unix.S_IFDIR: 2, unix.S_IFCHR: 3, unix.S_IFBLK: 4, unix.S_IFIFO: 5, unix.S_IFSOCK: 6, unix.S_IFLNK: 7}

// blocksOf calls fn with the names that fit into one block of a directory, for each block.
func blocksOf(names []child, fn func(names []child, size int)) {
	first, size := 0, 0
	for i := range names {
		need := dirent + len(names[i].name)
		if size+need > blockSize {
			fn(names[first:i], size)
			first, size = i, 0
		}
		size += need
	}
	fn(names[first:], size)
}

// directorySize is the size of a directory's content: whole blocks, and the last one.
func directorySize(names []child) (size uint64) {
	last := 0
	blocksOf(names, func(_ []child, n int) { size, last = size+blockSize, n })
	return size - blockSize + uint64(last)
}

// encodeDirectory returns one block of a directory, without padding.
func encodeDirectory(names []child) []byte {
	var out []byte
	offset := dirent * len(names)
	for _, c := range names {
		out = binary.LittleEndian.AppendUint64(out, c.number())
		out = binary.LittleEndian.AppendUint16(out, uint16(offset))
		out = append(out, direntTypes[c.kind()], 0)
		offset += len(c.name)
	}
	for _, c := range names {
		out = append(out, c.name...)
	}
	return out
}

// superblock returns the first block without UUID and checksum.
func superblock(root uint64, inodes int, blocks, inodesAt uint32) []byte {
	b, le := make([]byte, blockSize), binary.LittleEndian
	s := b[superOffset:]
	le.PutUint32(s[0:], magic)
	le.PutUint32(s[8:], hasChecksum|hasMtime)
	s[12] = blockBits
	le.PutUint16(s[14:], uint16(root)) // At most that of the second block: see place.
	le.PutUint64(s[16:], uint64(inodes))
	le.PutUint32(s[36:], blocks)
	le.PutUint32(s[40:], inodesAt)
	return b
}

// seal adds UUID and checksum to the first block. The UUID is of version 8: one that the
// maker defines.
func seal(block, digest []byte) {
	uuid := block[uuidOffset : uuidOffset+16]
	copy(uuid, digest)
	uuid[6], uuid[8] = uuid[6]&0x0f|0x80, uuid[8]&0x3f|0x80
	binary.LittleEndian.PutUint32(block[superOffset+4:], checksum(block))
}

// Whole reports whether the file at path begins as Make writes images, and is as long: it is
// there, and was not cut. Damage further behind is not found.
func Whole(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	block := make([]byte, blockSize)
	if _, readErr := io.ReadFull(f, block); errors.Join(err, readErr) != nil {
		return false
	}
	super, le := block[superOffset:], binary.LittleEndian
	want := le.Uint32(super[4:])
	clear(super[4:8])
	return le.Uint32(super) == magic && checksum(block) == want && int64(le.Uint32(super[36:]))*blockSize == info.Size()
}

// checksum is that of a first block, whose own place for it has zeros.
func checksum(block []byte) uint32 {
	return ^crc32.Checksum(block[superOffset:], crc32.MakeTable(crc32.Castagnoli))
}

//go:build linux

package erofs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// finish places and writes directories, long links, inodes and the superblock, and
// returns the digest of the image.
func (t *tree) finish() ([]byte, error) {
	if err := t.place(); err != nil {
		return nil, err
	}
	for _, i := range t.inodes {
		if i.inline {
			continue
		}
		if err := t.out.tail(i); err != nil {
			return nil, err
		}
		if err := t.out.align(); err != nil {
			return nil, err
		}
	}
	inodesAt, err := t.out.block()
	if err != nil {
		return nil, err
	}
	begin := t.out.pos
	for _, i := range t.inodes {
		if err := t.out.skip(begin + i.at - t.out.pos); err != nil {
			return nil, err
		}
		if _, err := t.out.Write(append(i.encode(), i.attributes...)); err != nil {
			return nil, err
		}
		if i.inline {
			if err := t.out.tail(i); err != nil {
				return nil, err
			}
		}
	}
	if err := t.out.align(); err != nil {
		return nil, err
	}
	if err := t.out.flush(); err != nil {
		return nil, err
	}
	blocks, err := t.out.block()
	if err != nil {
		return nil, err
	}
	first := superblock(t.inodes[0].number(), len(t.inodes), blocks, inodesAt)
	t.out.sum.Write(first)
	digest := t.out.sum.Sum(nil)
	seal(first, digest)
	if _, err := t.out.f.WriteAt(first, 0); err != nil {
		return nil, err
	}
	return digest, t.out.f.Truncate(t.out.pos)
}

// place says where each inode will be, and the content of directories and links.
func (t *tree) place() error {
	at, block := int64(firstInode), t.out.pos>>blockBits
	for _, i := range t.inodes {
		head, size := inodeSize+len(i.attributes), 0
		switch i.kind() {
		case unix.S_IFDIR:
			i.size = directorySize(i.children)
			fallthrough
		case unix.S_IFLNK:
			// gVisor maps no regular file that is inline, and no inline content may cross
			// the end of a block.
			if i.inline = uint64(head)+i.size <= blockSize; i.inline {
				size = int(i.size)
			} else {
				i.start = uint32(block)
				block += int64(i.size+blockSize-1) >> blockBits
			}
		}
		if into := at & (blockSize - 1); into > 0 && into+int64(head+size) > blockSize {
			at += blockSize - into
		}
		i.at = at
		at = (at + int64(head+size) + inodeUnit - 1) &^ (inodeUnit - 1)
	}
	if block+at>>blockBits >= 1<<32-1 {
		return errors.New("the image has too many blocks")
	}
	return nil
}

// tail writes the content of a directory or link.
func (o *output) tail(i *inode) error {
	switch i.kind() {
	case unix.S_IFLNK:
		_, err := o.Write([]byte(i.file.Target))
		return err
	case unix.S_IFDIR:
		var err error
		blocksOf(i.children, func(names []child, _ int) {
			if err == nil && !i.inline {
				err = o.align()
			}
			if err == nil {
				_, err = o.Write(encodeDirectory(names))
			}
		})
		return err
	}
	return nil
}

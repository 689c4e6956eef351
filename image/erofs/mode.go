//go:build linux

package erofs

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

type statT = syscall.Stat_t

// unixMode is the mode of stat for one of Go; without a type if it is none of Linux's.
func unixMode(mode fs.FileMode) uint32 {
	out := uint32(mode.Perm())
	switch mode.Type() {
	case 0:
		out |= unix.S_IFREG
	case fs.ModeDir:
		out |= unix.S_IFDIR
	case fs.ModeSymlink:
		out |= unix.S_IFLNK
	case fs.ModeNamedPipe:
		out |= unix.S_IFIFO
	case fs.ModeSocket:
		out |= unix.S_IFSOCK
	case fs.ModeDevice:
		out |= unix.S_IFBLK
	case fs.ModeDevice | fs.ModeCharDevice:
		out |= unix.S_IFCHR
	}
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if mode&bit != 0 {
			out |= value
		}
	}
	return out
}

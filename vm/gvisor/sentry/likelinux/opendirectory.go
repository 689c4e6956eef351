//go:build linux

package likelinux

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// openArgs are what the calls that open a file have in common. ok is false if the
// call itself is to say what is wrong with them.
type openArgs func(*kernel.Task, arch.SyscallArguments) (at pathArgs, flags uint32, ok bool)

func linuxOpen(_ *kernel.Task, args arch.SyscallArguments) (pathArgs, uint32, bool) {
	return pathArgs{dirfd: linux.AT_FDCWD, path: args[0].Pointer()}, args[1].Uint(), true
}

func linuxOpenat(_ *kernel.Task, args arch.SyscallArguments) (pathArgs, uint32, bool) {
	return pathArgs{dirfd: args[0].Int(), path: args[1].Pointer()}, args[2].Uint(), true
}

const resolveFlags = linux.RESOLVE_BENEATH | linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS |
	linux.RESOLVE_NO_SYMLINKS | linux.RESOLVE_NO_XDEV | linux.RESOLVE_CACHED

func linuxOpenat2(t *kernel.Task, args arch.SyscallArguments) (pathArgs, uint32, bool) {
	var how linux.OpenHow
	const both = linux.RESOLVE_BENEATH | linux.RESOLVE_IN_ROOT
	if size := args[3].SizeT(); size < linux.OPEN_HOW_SIZE_VER0 || size > linux.OPEN_HOW_SIZE_LATEST && !zeroBeyond(t, args) {
		return pathArgs{}, 0, false
	}
	if _, err := how.CopyInN(t, args[2].Pointer(), int(min(args[3].SizeT(), linux.OPEN_HOW_SIZE_LATEST))); err != nil ||
		how.Flags&^linux.ValidOpenFlags != 0 || how.Mode != 0 || how.Resolve&^resolveFlags != 0 || how.Resolve&both == both {
		return pathArgs{}, 0, false
	}
	at := pathArgs{dirfd: args[0].Int(), path: args[1].Pointer(), resolve: how.Resolve}
	return at, uint32(how.Flags), how.Flags&linux.O_CREAT == 0
}

// zeroBeyond reports whether a program that knows more of openat2 than gVisor
// asks for nothing of that.
func zeroBeyond(t *kernel.Task, args arch.SyscallArguments) bool {
	const most = 4096
	if args[3].SizeT() > most {
		return false
	}
	beyond := make([]byte, args[3].SizeT()-linux.OPEN_HOW_SIZE_LATEST)
	if _, err := t.CopyInBytes(args[2].Pointer()+linux.OPEN_HOW_SIZE_LATEST, beyond); err != nil {
		return false
	}
	for _, b := range beyond {
		if b != 0 {
			return false
		}
	}
	return true
}

// openDirectory refuses a symbolic link if a directory is to be opened and no
// link to be followed: gVisor takes O_DIRECTORY for a slash at the end of the
// path, before which links are followed. It also refuses to create one, as Linux
// does.
func openDirectory(argsOf openArgs) calls.Wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			at, flags, ok := argsOf(t, args)
			if !ok || flags&linux.O_DIRECTORY == 0 || flags&linux.O_PATH != 0 {
				return fn(t, no, args)
			}
			if flags&linux.O_CREAT != 0 {
				return 0, nil, linuxerr.EINVAL
			}
			if flags&linux.O_NOFOLLOW == 0 || flags&linux.O_TMPFILE != 0 {
				return fn(t, no, args)
			}
			fd, err := openUnfollowed(t, at, flags)
			return uintptr(fd), nil, err
		}
	}
}

// openUnfollowed finds the directory first, as open does with O_PATH, and opens
// what it found.
func openUnfollowed(t *kernel.Task, at pathArgs, flags uint32) (fd int32, err error) {
	files := t.Kernel().VFS()
	err = withPath(t, at, func(path *vfs.PathOperation) error {
		found, err := files.OpenAt(t, t.Credentials(), path, &vfs.OpenOptions{Flags: linux.O_PATH | linux.O_DIRECTORY | linux.O_NOFOLLOW})
		if err != nil {
			return err
		}
		defer found.DecRef(t)
		directory := &vfs.PathOperation{Root: found.VirtualDentry(), Start: found.VirtualDentry()}
		file, err := files.OpenAt(t, t.Credentials(), directory, &vfs.OpenOptions{Flags: flags | linux.O_LARGEFILE})
		if err != nil {
			return err
		}
		defer file.DecRef(t)
		fd, err = t.NewFDFrom(0, file, kernel.FDFlags{CloseOnExec: flags&linux.O_CLOEXEC != 0})
		return err
	})
	return fd, err
}

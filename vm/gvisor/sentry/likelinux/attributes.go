//go:build linux

package likelinux

import (
	"bytes"
	"strings"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// fileOf calls fn with the file whose attribute a call asks for.
type fileOf func(t *kernel.Task, args arch.SyscallArguments, fn func(*vfs.PathOperation) error) error

func byPath(follow bool) fileOf {
	return func(t *kernel.Task, args arch.SyscallArguments, fn func(*vfs.PathOperation) error) error {
		return resolved(t, pathArgs{dirfd: linux.AT_FDCWD, path: args[0].Pointer(), follow: follow}, fn)
	}
}

func byFD(t *kernel.Task, args arch.SyscallArguments, fn func(*vfs.PathOperation) error) error {
	file := t.GetFile(args[0].Int())
	if file == nil {
		return linuxerr.EBADF
	}
	defer file.DecRef(t)
	return fn(&vfs.PathOperation{Root: file.VirtualDentry(), Start: file.VirtualDentry()})
}

// readAttribute asks for the right to read a file only where an attribute is of
// its user, as Linux does (fs/xattr.c, xattr_permission). ls reads two others of
// every file that it lists.
func readAttribute(of fileOf) calls.Wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			n, control, err := fn(t, no, args)
			if !linuxerr.Equals(linuxerr.EACCES, err) {
				return n, control, err
			}
			name, readable := attributeName(t, args[1].Pointer())
			switch {
			case strings.HasPrefix(name, linux.XATTR_TRUSTED_PREFIX) && !t.Credentials().HasRootCapability(linux.CAP_SYS_ADMIN):
				readable = func(*vfs.PathOperation) (string, error) { return "", linuxerr.ENODATA }
			case !strings.HasPrefix(name, linux.XATTR_SECURITY_PREFIX) && !strings.HasPrefix(name, linux.XATTR_SYSTEM_PREFIX):
				return n, control, err
			}
			err = of(t, args, func(file *vfs.PathOperation) error {
				value, err := readable(file)
				if err != nil {
					return err
				}
				n, err = copyOutAttribute(t, value, args[2].Pointer(), args[3].SizeT())
				return err
			})
			return n, nil, err
		}
	}
}

func attributeName(t *kernel.Task, at hostarch.Addr) (string, func(*vfs.PathOperation) (string, error)) {
	name, err := t.CopyInString(at, linux.XATTR_NAME_MAX+1)
	if err != nil {
		name = ""
	}
	return name, func(file *vfs.PathOperation) (string, error) {
		return t.Kernel().VFS().GetXattrAt(t, ofTheKernel(t), file, &vfs.GetXattrOptions{Name: name, Size: linux.XATTR_SIZE_MAX})
	}
}

func copyOutAttribute(t *kernel.Task, value string, at hostarch.Addr, size uint) (uintptr, error) {
	if size == 0 {
		return uintptr(len(value)), nil
	}
	if uint(len(value)) > size {
		return 0, linuxerr.ERANGE
	}
	n, err := t.CopyOutBytes(at, bytes.Clone([]byte(value)))
	return uintptr(n), err
}

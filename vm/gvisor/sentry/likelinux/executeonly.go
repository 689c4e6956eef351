//go:build linux

package likelinux

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/mm"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// executeUnreadable runs a program that the task may execute and not read.
// gVisor's loader asks for both.
func executeUnreadable(at bool) calls.Wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			all := args
			if !at { // As execveat has them.
				all = arch.SyscallArguments{{}, args[0], args[1], args[2], {}}
				all[0].Value = atCWD
			}
			flags := all[4].Int()
			// Any user has the right to trace in a new user namespace.
			if flags&^(linux.AT_EMPTY_PATH|linux.AT_SYMLINK_NOFOLLOW) != 0 || t.UserNamespace() != t.Kernel().RootUserNamespace() {
				return fn(t, no, args)
			}
			file := openUnreadable(t, pathArgs{dirfd: all[0].Int(), path: all[1].Pointer(),
				follow: flags&linux.AT_SYMLINK_NOFOLLOW == 0, empty: flags&linux.AT_EMPTY_PATH != 0})
			if file == nil {
				return fn(t, no, args)
			}
			return execute(t, file, all)
		}
	}
}

var atCWD = func() uintptr { cwd := int32(linux.AT_FDCWD); return uintptr(cwd) }()

// openUnreadable opens a program for the loader if the task may execute it and
// not read it. No descriptor of the guest refers to it.
func openUnreadable(t *kernel.Task, at pathArgs) (program *vfs.FileDescription) {
	files, creds := t.Kernel().VFS(), t.Credentials()
	_ = resolved(t, at, func(file *vfs.PathOperation) (err error) {
		if err := files.AccessAt(t, creds, vfs.MayRead, file); !linuxerr.Equals(linuxerr.EACCES, err) {
			return err
		}
		if err := files.AccessAt(t, creds, vfs.MayExec, file); err != nil {
			return err
		}
		opened, err := files.OpenAt(t, ofTheKernel(t), file, &vfs.OpenOptions{Flags: linux.O_RDONLY, FileExec: true})
		if err != nil {
			return err
		}
		program, err = newProgramFile(t, opened)
		return err
	})
	return program
}

// execute does what execveat does with a program that is open.
func execute(t *kernel.Task, program *vfs.FileDescription, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
	name, vectors, err := executeArgs(t, args)
	if err != nil {
		program.DecRef(t)
		return 0, nil, err
	}
	closeOnExec := false
	if dirfd := args[0].Int(); dirfd != linux.AT_FDCWD && !fspath.Parse(name).Absolute {
		if dir, flags := t.FDTable().Get(dirfd); dir != nil {
			dir.DecRef(t)
			closeOnExec = flags.CloseOnExec
		}
		if name != "" {
			name = "/" + name
		}
		name = fmt.Sprintf("/dev/fd/%d%s", dirfd, name)
	}
	return 0, t.Execve(vectors[0], vectors[1], args[4].Int(), name, program, closeOnExec), nil
}

func executeArgs(t *kernel.Task, args arch.SyscallArguments) (name string, vectors [2][]string, err error) {
	if name, err = t.CopyInString(args[1].Pointer(), linux.PATH_MAX); err != nil {
		return "", vectors, err
	}
	for i := range vectors {
		if at := args[2+i].Pointer(); at != 0 {
			if vectors[i], err = t.CopyInVector(at, guest.ExecMaxElemSize, guest.ExecMaxTotalSize); err != nil {
				return "", vectors, err
			}
		}
	}
	return name, vectors, nil
}

// Executed is called when a task has a new program, before any other task can
// attach to it. It finishes what the loader made of one that the task may not read:
// its memory must not be readable either. Of a script the loader has loaded the
// interpreter, which is another file.
func Executed(t *kernel.Task) {
	m := t.MemoryManager()
	if m == nil {
		return
	}
	ctx := t.AsyncContext() // A task that is about to run the guest cannot wait for a file.
	loaded := m.Executable()
	if loaded == nil {
		return
	}
	defer loaded.DecRef(ctx)
	if file, ok := loaded.Impl().(*programFile); ok {
		m.SetDumpability(mm.NotDumpable)
		m.SetExecutable(ctx, file.opened)
	}
}

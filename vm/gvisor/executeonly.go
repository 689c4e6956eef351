//go:build linux

package gvisor

import (
	"fmt"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/mm"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// executeUnreadable runs a program that the task may execute and not read.
// gVisor's loader asks for both.
func executeUnreadable(at bool) wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			all := args
			if !at { // As execveat has them.
				all = arch.SyscallArguments{{}, args[0], args[1], args[2], {}}
				all[0].Value = atCWD
			}
			flags := all[4].Int()
			if flags&^(linux.AT_EMPTY_PATH|linux.AT_SYMLINK_NOFOLLOW) != 0 {
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
	unreadable.add(t, program)
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

// unreadable are the tasks that are about to run a program that they may not
// read. Nobody may read its memory either. A save forgets them, which matters to
// those that are between two programs at that moment.
var unreadable unreadables

type unreadables struct {
	waiting atomic.Int32
	mu      sync.Mutex
	tasks   map[*kernel.Task]replacement
}

// replacement is the memory of a task's program, and the one that replaces it.
type replacement struct {
	before  *mm.MemoryManager
	program *vfs.FileDescription
}

func (u *unreadables) add(t *kernel.Task, program *vfs.FileDescription) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tasks == nil {
		u.tasks = map[*kernel.Task]replacement{}
	}
	for other, r := range u.tasks { // Those that were killed meanwhile do not enter.
		if other.ExitState() != kernel.TaskExitNone {
			u.removeLocked(other, r)
		}
	}
	program.IncRef()
	u.tasks[t] = replacement{t.MemoryManager(), program}
	u.waiting.Store(int32(len(u.tasks)))
}

func (u *unreadables) removeLocked(t *kernel.Task, r replacement) {
	delete(u.tasks, t)
	u.waiting.Store(int32(len(u.tasks)))
	r.program.DecRef(t.AsyncContext())
}

// enter is called before a task runs the guest's code.
func (u *unreadables) enter(t *kernel.Task) {
	if u.waiting.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	r, ok := u.tasks[t]
	if !ok {
		return
	}
	if now := t.MemoryManager(); now != r.before {
		r.settle(t, now)
	}
	u.removeLocked(t, r)
}

// settle finishes what the loader made of a program. Of a script it has loaded the
// interpreter, which is another file.
func (r replacement) settle(t *kernel.Task, now *mm.MemoryManager) {
	ctx := t.AsyncContext() // A task that is about to run the guest cannot wait for a file.
	loaded := now.Executable()
	if loaded == nil {
		return
	}
	defer loaded.DecRef(ctx)
	if file, ok := r.program.Impl().(*programFile); ok && loaded == r.program {
		now.SetDumpability(mm.NotDumpable)
		now.SetExecutable(ctx, file.opened)
	}
}

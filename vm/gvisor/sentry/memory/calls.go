//go:build linux

package memory

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// Install puts the guard between this sandbox process's guest and its
// kernel, but for its hook. It must be called before gVisor's own code runs.
func Install(g *Guard) {
	for _, table := range []*kernel.SyscallTable{guest.AMD64, guest.ARM64} {
		for number, call := range table.Table {
			if wrap := guarded[call.Name]; wrap != nil {
				call.Fn = wrap(g, call.Fn)
				table.Table[number] = call
			}
		}
		table.Init()
	}
}

// guarded are the system calls by which a guest makes its kernel or its own
// memory grow in one step.
var guarded = map[string]func(*Guard, kernel.SyscallFn) kernel.SyscallFn{
	"fork": refuseProcess(calls.NoFlags), "vfork": refuseProcess(calls.NoFlags),
	"clone": refuseProcess(calls.CloneFlags), "clone3": refuseProcess(calls.Clone3Flags),

	"open": refuseFileIf(1), "openat": refuseFileIf(2), "creat": refuseFile, "mkdir": refuseFile, "mkdirat": refuseFile,
	"mknod": refuseFile, "mknodat": refuseFile, "symlink": refuseFile, "symlinkat": refuseFile,
	"link": refuseFile, "linkat": refuseFile,

	"mmap": boundMapping, "mremap": boundRemapping, "brk": boundBreak,
	"mlock": lockLazily(2, linux.MLOCK_ONFAULT, guest.Mlock2), "mlock2": lockLazily(2, linux.MLOCK_ONFAULT, nil),
	"mlockall": lockLazily(0, linux.MCL_ONFAULT, nil),

	"read": shorten(2), "pread64": shorten(2), "getrandom": shorten(1),
	"sendfile": shorten(3), "splice": shorten(4), "copy_file_range": shorten(4),
	"readv": shortenVector(false), "preadv": shortenVector(true), "preadv2": shortenVector(true),
	"write": inPieces(false, false), "pwrite64": inPieces(false, true),
	"writev": inPieces(true, false), "pwritev": inPieces(true, true), "pwritev2": inPieces(true, true),
	"process_vm_readv": boundCopy, "process_vm_writev": boundCopy, "fallocate": boundAllocation,
}

// refuseProcess fails with "resource temporarily unavailable", as a kernel
// without room for another process does.
func refuseProcess(flagsOf func(*kernel.Task, arch.SyscallArguments) uint64) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			thread := flagsOf(t, args)&linux.CLONE_THREAD != 0
			first := t.ThreadGroup() == t.Kernel().GlobalInit()
			if !g.hasRoom(t.Kernel(), func() bool { return g.mayClone(first, thread) }) {
				return 0, nil, linuxerr.EAGAIN
			}
			return fn(t, no, args)
		}
	}
}

// refuseFile fails with "no space left", as a file system without free inodes
// does: every file is an object in the heap of the guest's kernel.
func refuseFile(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if !g.hasRoom(t.Kernel(), func() bool { return g.roomFor(budget.NewFileCost, g.budget.Reserve) }) {
			return 0, nil, linuxerr.ENOSPC
		}
		return fn(t, no, args)
	}
}

func refuseFileIf(flags int) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		refuse := refuseFile(g, fn)
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			if args[flags].Uint()&linux.O_CREAT != 0 {
				return refuse(t, no, args)
			}
			return fn(t, no, args)
		}
	}
}

// boundMapping refuses a mapping of more memory than there is, as Linux does
// by default, and leaves populating to page faults when memory is short.
func boundMapping(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		length, prot, flags := args[1].Uint64(), args[2].Int(), args[3].Int()
		if flags&linux.MAP_PRIVATE != 0 && flags&linux.MAP_NORESERVE == 0 && prot&linux.PROT_WRITE != 0 &&
			length > uint64(g.budget.Memory) {
			return 0, nil, linuxerr.ENOMEM
		}
		if flags&(linux.MAP_POPULATE|linux.MAP_LOCKED) != 0 {
			if g.take(length) {
				defer g.give(length)
			} else {
				args[3].Value &^= linux.MAP_POPULATE | linux.MAP_LOCKED
			}
		}
		return fn(t, no, args)
	}
}

func boundRemapping(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if before, after := args[1].Uint64(), args[2].Uint64(); after > before && after-before > uint64(g.budget.Memory) {
			return 0, nil, linuxerr.ENOMEM
		}
		return fn(t, no, args)
	}
}

// boundBreak returns the end of the heap as it is, which says that it could not
// be moved.
func boundBreak(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		end, _ := t.MemoryManager().Brk(t, 0)
		if wanted := args[0].Pointer(); wanted > end && uint64(wanted-end) > uint64(g.budget.Memory) {
			return uintptr(end), nil, nil
		}
		return fn(t, no, args)
	}
}

//go:build linux

package memory

import (
	"math"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/tmpfs"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// One system call can take as much memory as its length says, and the guard
// looks between system calls only. So a call that does not fit is done in pieces.

// piece is how much one call may take without being asked whether it fits.
const piece = 4 * budget.MiB

// fits reports whether the guest has so many bytes left.
func (g *Guard) fits(bytes uint64) bool {
	return bytes <= uint64(max(0, g.budget.Memory-g.used.Load()))
}

// take is fits for a call that may take the bytes while others are under way
// that may, too. It ends with give.
func (g *Guard) take(bytes uint64) bool {
	if bytes > uint64(g.budget.Memory) {
		return false
	}
	if !g.fits(uint64(g.taken.Add(int64(bytes)))) {
		g.give(bytes)
		return false
	}
	return true
}

func (g *Guard) give(bytes uint64) { g.taken.Add(-int64(bytes)) }

// shorten makes a call shorter whose callers must expect that: the argument with
// this index is its length.
func shorten(length int) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			if n := uint64(args[length].SizeT()); n > piece {
				if g.take(n) {
					defer g.give(n)
				} else {
					args[length].Value = piece
				}
			}
			return fn(t, no, args)
		}
	}
}

// shortenVector is shorten for a read into several buffers: the first one gets
// something.
func shortenVector(positioned bool) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			buffers, n := calls.Vector(t, args[1], args[2])
			if n <= piece {
				return fn(t, no, args)
			}
			if g.take(n) {
				defer g.give(n)
				return fn(t, no, args)
			}
			for _, b := range buffers {
				if b.Length() > 0 {
					one, at := single(guest.Read, guest.Pread64, positioned, args)
					return one(t, no, arch.SyscallArguments{args[0], {Value: uintptr(b.Start)}, {Value: uintptr(min(b.Length(), piece))}, at})
				}
			}
			return fn(t, no, args)
		}
	}
}

// inPieces writes all that a call is to write, since many programs expect that of
// a file. What is written may be memory that was never touched, and be written to
// memory.
func inPieces(vectored, positioned bool) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			n := uint64(args[2].SizeT())
			var buffers []hostarch.AddrRange
			if vectored {
				buffers, n = calls.Vector(t, args[1], args[2])
			} else {
				buffers = []hostarch.AddrRange{{Start: args[1].Pointer(), End: args[1].Pointer() + hostarch.Addr(min(n, uint64(linux.MAX_RW_COUNT)))}}
			}
			if n <= piece || n > math.MaxInt64 {
				return fn(t, no, args)
			}
			if g.take(n) {
				defer g.give(n)
				return fn(t, no, args)
			}
			one, at := single(guest.Write, guest.Pwrite64, positioned, args)
			return g.writePieces(t, buffers, func(b hostarch.Addr, n, done uintptr) (uintptr, *kernel.SyscallControl, error) {
				return one(t, no, arch.SyscallArguments{args[0], {Value: uintptr(b)}, {Value: n}, {Value: at.Value + done}})
			})
		}
	}
}

// writePieces looks at memory before each piece.
func (g *Guard) writePieces(t *kernel.Task, buffers []hostarch.AddrRange, write func(b hostarch.Addr, n, done uintptr) (uintptr, *kernel.SyscallControl, error)) (done uintptr, _ *kernel.SyscallControl, _ error) {
	for _, b := range buffers {
		for b.Length() > 0 {
			if g.Passed(t, true); t.Killed() {
				return done, nil, nil // It is not read.
			}
			want := uintptr(min(b.Length(), piece))
			n, control, err := write(b.Start, want, done)
			if err != nil && done == 0 {
				return n, control, err
			}
			if done += n; err != nil || n < want {
				return done, control, nil
			}
			b.Start += hostarch.Addr(n)
		}
	}
	return done, nil, nil
}

// single chooses the call for one buffer that does what a vectored one does, and
// where in the file it does it.
func single(plain, positionedCall kernel.SyscallFn, positioned bool, args arch.SyscallArguments) (kernel.SyscallFn, arch.SyscallArgument) {
	if positioned && args[3].Int64() != -1 {
		return positionedCall, args[3]
	}
	return plain, arch.SyscallArgument{}
}

// boundCopy fails if the memory of a process cannot be copied as a whole.
func boundCopy(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if _, n := calls.Vector(t, args[1], args[2]); n > piece && !g.fits(2*n) {
			return 0, nil, linuxerr.ENOMEM
		}
		return fn(t, no, args)
	}
}

// boundAllocation fails with "no space left" if a file in memory cannot grow.
func boundAllocation(g *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if !g.fits(args[3].Uint64()) && inMemory(t, args[0].Int()) {
			return 0, nil, linuxerr.ENOSPC
		}
		return fn(t, no, args)
	}
}

func inMemory(t *kernel.Task, fd int32) bool {
	file := t.GetFile(fd)
	if file == nil {
		return false
	}
	defer file.DecRef(t)
	return file.Mount().Filesystem().FilesystemType().Name() == tmpfs.Name
}

// lockLazily locks memory without filling it. A guest's memory is never swapped,
// so that it notices no difference.
func lockLazily(flags int, flag uintptr, call kernel.SyscallFn) func(*Guard, kernel.SyscallFn) kernel.SyscallFn {
	return func(_ *Guard, fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			if call != nil { // The one without flags.
				args[flags].Value = flag
				return call(t, no, args)
			}
			args[flags].Value |= flag
			return fn(t, no, args)
		}
	}
}

//go:build linux

// Package calls changes the system calls of the guest of this process, and reads their
// arguments.
//
// It may import gVisor; the packages of the sandbox process import it.
package calls

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
)

// Wrapper changes what a system call does. It runs after seccomp and ptrace have
// seen the call, and keeps nothing between calls, since the guest may be saved.
type Wrapper func(kernel.SyscallFn) kernel.SyscallFn

// Wrap changes system calls by their names, for a kernel that this process
// does not run yet.
func Wrap(wraps map[string]Wrapper) {
	for _, table := range []*kernel.SyscallTable{guest.AMD64, guest.ARM64} {
		for number, call := range table.Table {
			if wrap := wraps[call.Name]; wrap != nil {
				call.Fn = wrap(call.Fn)
				table.Table[number] = call
			}
		}
		table.Init()
	}
}

// NoFlags are those of fork and vfork.
func NoFlags(*kernel.Task, arch.SyscallArguments) uint64 { return 0 }

// CloneFlags are those of clone.
func CloneFlags(_ *kernel.Task, args arch.SyscallArguments) uint64 { return args[0].Uint64() }

// Clone3Flags reads the first field of the structure that the guest passes.
func Clone3Flags(t *kernel.Task, args arch.SyscallArguments) uint64 {
	var flags [8]byte
	if _, err := t.CopyInBytes(args[0].Pointer(), flags[:]); err != nil {
		return 0 // The call will say what is wrong.
	}
	return hostarch.ByteOrder.Uint64(flags[:])
}

// Vector reads the buffers of a call, and how long they are together. If they
// cannot be read, the call itself will say so.
func Vector(t *kernel.Task, at, count arch.SyscallArgument) (buffers []hostarch.AddrRange, bytes uint64) {
	if n := count.Int(); n > 0 && n <= linux.UIO_MAXIOV {
		buffers, _ = t.CopyInIovecsAsSlice(at.Pointer(), int(n))
	}
	for _, b := range buffers {
		bytes += uint64(b.Length())
	}
	return buffers, bytes
}

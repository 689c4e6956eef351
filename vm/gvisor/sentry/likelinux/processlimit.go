//go:build linux

package likelinux

import (
	"sync"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/limits"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// making is held by a task that makes a process in a guest with a limit.
var making sync.Mutex

// boundProcesses refuses a process beyond Spec.MaxProcesses. gVisor keeps that as
// the RLIMIT_NPROC of the first process, which snapshots carry, and enforces it
// nowhere. Threads do not count, and root in the guest can raise it as it can on
// Linux; what one machine may take of the host is limited by its control group.
func boundProcesses(flagsOf func(*kernel.Task, arch.SyscallArguments) uint64) calls.Wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			most := t.Kernel().GlobalInit().Limits().Get(limits.ProcessCount).Max
			if most == limits.Infinity || flagsOf(t, args)&linux.CLONE_THREAD != 0 {
				return fn(t, no, args)
			}
			making.Lock()
			defer making.Unlock()
			count := uint64(0)
			t.Kernel().TaskSet().ForEachThreadGroup(func(*kernel.ThreadGroup, *kernel.Task) { count++ })
			if count >= most {
				return 0, nil, linuxerr.EAGAIN
			}
			return fn(t, no, args)
		}
	}
}

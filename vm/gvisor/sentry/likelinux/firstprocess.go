//go:build linux

package likelinux

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// receiver returns the process that an argument of a signal's call names, or nil.
type receiver func(t *kernel.Task, arg int32) *kernel.ThreadGroup

func byPID(t *kernel.Task, pid int32) *kernel.ThreadGroup {
	if pid <= 0 {
		return nil // Of a group; gVisor leaves the first process out of all of them itself.
	}
	named := t.PIDNamespace().TaskWithID(kernel.ThreadID(pid)) // Or any other of its threads.
	if named == nil {
		return nil
	}
	return named.ThreadGroup()
}

func byPIDFD(t *kernel.Task, fd int32) *kernel.ThreadGroup {
	file := t.GetFile(fd)
	if file == nil {
		return nil
	}
	defer file.DecRef(t)
	task, err := kernel.PIDFDTask(file)
	if err != nil {
		return nil
	}
	return task.ThreadGroup()
}

// spareFirst makes signals of other processes of the guest to the first one have
// no effect, as on Linux, which protects it unless it asks for a signal. The call
// says whether the signal may be sent, and sends none. The host's signals come
// by another way.
func spareFirst(find receiver, who, signal int) calls.Wrapper {
	return func(fn kernel.SyscallFn) kernel.SyscallFn {
		return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			first := t.Kernel().GlobalInit()
			if linux.Signal(args[signal].Int()).IsValid() && t.ThreadGroup() != first && find(t, args[who].Int()) == first {
				args[signal].Value = 0
			}
			return fn(t, no, args)
		}
	}
}

//go:build linux

package likelinux

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// clocks are calls by which a guest asks for a length of time. They get one, whatever clock
// the guest names, as on Linux. gVisor adds it to the wall clock, which jumps over a pause:
// sleep(1) and timeout(1) would end then.
var clocks = map[string]calls.Wrapper{
	"clock_nanosleep": monotonicSleep, "timer_create": monotonicTimer, "timer_settime": timeOfDayTimer,
}

func monotonicSleep(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if args[0].Int() == linux.CLOCK_REALTIME && args[1].Int()&linux.TIMER_ABSTIME == 0 {
			args[0].Value = linux.CLOCK_MONOTONIC
		}
		return fn(t, no, args)
	}
}

// monotonicTimer makes every timer of the wall clock a monotonic one: whether it
// will wait for a time of day is not known yet.
func monotonicTimer(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if args[0].Int() == linux.CLOCK_REALTIME {
			args[0].Value = linux.CLOCK_MONOTONIC
		}
		return fn(t, no, args)
	}
}

// leastTimeOfDay, in seconds, is after all that a monotonic clock says, and
// before all that is still to come.
const leastTimeOfDay = 1 << 30

// timeOfDayTimer sets a timer to a time of day. A pause before that makes it
// late.
func timeOfDayTimer(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		var value linux.Itimerspec
		if args[1].Int()&linux.TIMER_ABSTIME == 0 {
			return fn(t, no, args)
		}
		if _, err := value.CopyIn(t, args[2].Pointer()); err != nil || !value.Valid() || value.Value.Sec < leastTimeOfDay {
			return fn(t, no, args)
		}
		left := max(1, value.Value.ToNsecCapped()-t.Kernel().RealtimeClock().Now().Nanoseconds())
		value.Value = linux.NsecToTimespec(left)
		old, err := t.IntervalTimerSettime(linux.TimerID(args[0].Value), value, false)
		if err == nil && args[3].Pointer() != 0 {
			_, err = old.CopyOut(t, args[3].Pointer())
		}
		return 0, nil, err
	}
}

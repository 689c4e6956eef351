//go:build linux

package sentry

import (
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"
	_ "gvisor.dev/gvisor/pkg/sentry/syscalls/linux" // Registers the tables.
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// TimeWait is how long a closed connection of the guest is remembered, instead
// of gVisor's minute. It is long enough to answer the first repetition of a lost
// packet. Each that is remembered costs a save some milliseconds and 40 KiB, so
// that a guest with 4,000 connections in the last minute took 15 seconds to save,
// and one with 15,000 went over its memory limit and was lost.
const TimeWait = time.Second

// shortenTimeWait sets TimeWait in each network stack of this process before a
// program has its first socket in it. gVisor has no flag for it, but its tables
// of system calls can be changed until a kernel runs.
func shortenTimeWait() {
	for _, table := range kernel.SyscallTables() {
		for number, call := range table.Table {
			if call.Name == "socket" {
				call.Fn = beforeSocket(call.Fn)
				table.Table[number] = call
				table.Init()
			}
		}
	}
}

func beforeSocket(socket kernel.SyscallFn) kernel.SyscallFn {
	var last atomic.Pointer[stack.Stack]
	return func(t *kernel.Task, number uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if s, ok := t.NetworkContext().(*netstack.Stack); ok && last.Swap(s.Stack) != s.Stack {
			option := tcpip.TCPTimeWaitTimeoutOption(TimeWait)
			if err := s.Stack.SetTransportProtocolOption(tcp.ProtocolNumber, &option); err != nil {
				log.Warningf("Closed connections are remembered for long: %v", err)
			}
		}
		return socket(t, number, args)
	}
}

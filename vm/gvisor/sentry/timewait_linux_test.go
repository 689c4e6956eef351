package sentry

import (
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
)

// TestGVisorHasASystemCallForSockets fails with a gVisor whose sockets are made
// in another way.
func TestGVisorHasASystemCallForSockets(t *testing.T) {
	for _, table := range kernel.SyscallTables() {
		calls := 0
		for _, call := range table.Table {
			if call.Name == "socket" && call.Fn != nil {
				calls++
			}
		}
		if calls != 1 {
			t.Errorf("%v has %d system calls that make sockets", table.Arch, calls)
		}
	}
}

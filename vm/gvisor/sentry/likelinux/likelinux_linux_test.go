package likelinux

import (
	"maps"
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
)

// A call that gVisor spells in another way would go on as gVisor has it. Each is in the
// table of one architecture at least: arm64 has no open(2).
func TestGVisorHasTheCallsThatAreMended(t *testing.T) {
	known := map[string]bool{}
	for _, table := range []*kernel.SyscallTable{guest.AMD64, guest.ARM64} {
		for _, call := range table.Table {
			known[call.Name] = true
		}
	}
	for _, wraps := range []map[string]calls.Wrapper{mended, terminals, clocks} {
		for name := range maps.Keys(wraps) {
			if !known[name] {
				t.Errorf("gVisor has no system call %s", name)
			}
		}
	}
}

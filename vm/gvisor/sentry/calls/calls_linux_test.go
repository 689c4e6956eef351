package calls

import (
	"errors"
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
)

func TestWrapChangesTheNamedCallsOfBothArchitectures(t *testing.T) {
	changed := errors.New("changed")
	Wrap(map[string]Wrapper{"getppid": func(kernel.SyscallFn) kernel.SyscallFn {
		return func(*kernel.Task, uintptr, arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			return 0, nil, changed
		}
	}})
	for _, table := range []*kernel.SyscallTable{guest.AMD64, guest.ARM64} {
		found := 0
		for number, call := range table.Table {
			if call.Name != "getppid" {
				continue
			}
			found++
			if _, _, err := table.Lookup(number)(nil, number, arch.SyscallArguments{}); !errors.Is(err, changed) {
				t.Errorf("%v: %v", table.Arch, err)
			}
		}
		if found != 1 {
			t.Errorf("%v has %d calls of that name", table.Arch, found)
		}
	}
}

func TestFlags(t *testing.T) {
	args := arch.SyscallArguments{{Value: 0x10000}}
	if NoFlags(nil, args) != 0 || CloneFlags(nil, args) != 0x10000 {
		t.Error(NoFlags(nil, args), CloneFlags(nil, args))
	}
}

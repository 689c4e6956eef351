package cgroups

import (
	"os"
	"testing"
)

// A sandbox gets no more memory by swap than it has: on version 1 the sum is bounded, whether
// the limit is raised or lowered, and on version 2 each.
func TestSwapAddsNoMemory(t *testing.T) {
	const mib = 1 << 20
	const first = int64(1 << 30)
	g, _ := newGroup(t, 0)
	memory, swap := g.MemoryFile("memory.limit_in_bytes", "memory.max"), g.MemoryFile("memory.memsw.limit_in_bytes", "memory.swap.max")
	if _, err := os.Stat(swap); err != nil {
		t.Skipf("this kernel counts no swap: %v", err)
	}
	for _, want := range []int64{first, 128 * mib, 32 * mib, 96 * mib} {
		if want != first {
			if err := g.SetMemoryAndSwap(want); err != nil {
				t.Fatalf("%d MiB: %v", want/mib, err)
			}
		}
		for _, file := range []string{memory, swap} {
			if got, err := ReadInt(file); err != nil || got != want {
				t.Errorf("%s is %d, %v, want %d", file, got, err, want)
			}
		}
	}
}

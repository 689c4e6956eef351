//go:build linux

package cgroups

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
)

// SetMemoryAndSwap changes the limit of memory, in bytes, and keeps the group from getting
// more of it by swap. Version 1 bounds memory and swap together by it; version 2 knows
// no sum, and bounds swap by it as well. Where the kernel counts no swap, that is unlimited.
func (g *Group) SetMemoryAndSwap(bytes int64) error {
	swap, value := g.MemoryFile("memory.memsw.limit_in_bytes", "memory.swap.max"), []byte(strconv.FormatInt(bytes, 10))
	if _, err := os.Stat(swap); errors.Is(err, fs.ErrNotExist) {
		return g.SetMemoryLimit(bytes)
	}
	// On version 1 the sum is never below the limit of memory alone: it is raised before,
	// and lowered after it.
	if now, err := ReadInt(swap); err == nil && now >= bytes {
		return errors.Join(g.SetMemoryLimit(bytes), os.WriteFile(swap, value, 0))
	}
	if err := os.WriteFile(swap, value, 0); err != nil {
		return err
	}
	return g.SetMemoryLimit(bytes)
}

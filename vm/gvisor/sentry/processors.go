//go:build linux

package sentry

import (
	_ "unsafe" // For linkname.

	_ "gvisor.dev/gvisor/pkg/gomaxprocs" // Has the variable.
)

//go:linkname baseProcessors gvisor.dev/gvisor/pkg/gomaxprocs.base
var baseProcessors int

// keepProcessors ends gVisor's changes of GOMAXPROCS once it has set that to the processors
// of the guest: its package does nothing without a base. gVisor would add 128 while it loads
// the pages of a snapshot, and Go keeps the memory of as many processors, 3 MiB, for ever.
// The workers need none while they wait for the disk: their system calls give it back.
// It is called after gVisor has set the base, and before it loads anything.
func keepProcessors() { baseProcessors = 0 }

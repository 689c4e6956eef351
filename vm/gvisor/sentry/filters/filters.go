//go:build linux

// Package filters gives gVisor the system call filters of its two processes ready made.
// gVisor knows such filters, but its Go module has none: it builds them at each start,
// which is a tenth of the processor time of a restore. Which filter is right, and what
// is filled in (process id, descriptors), stays gVisor's decision: a configuration that
// has no ready filter gets one that is built.
//
// It may import gVisor; package sentry imports it.
package filters

import (
	"slices"
	_ "unsafe" // For linkname.

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	sentry "gvisor.dev/gvisor/runsc/boot/filter"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter"
)

//go:generate go run ./generate amd64 arm64

// table is what one architecture has. Generated files set the variable ready.
type table struct {
	sentry, gofer []precompiledseccomp.Program
}

//go:linkname sentryPrograms gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var sentryPrograms map[string]precompiledseccomp.Program

//go:linkname goferPrograms gvisor.dev/gvisor/runsc/fsgofer/filter.precompiledPrograms
var goferPrograms map[string]precompiledseccomp.Program

// Install must be called before gVisor's own code runs.
func Install() {
	// The first call of each makes an empty map.
	sentry.ListPrecompiled()
	gofer.ListPrecompiled()
	add(sentryPrograms, ready.sentry)
	add(goferPrograms, ready.gofer)
}

func add(to map[string]precompiledseccomp.Program, all []precompiledseccomp.Program) {
	for _, p := range all {
		p.Bytecode32 = slices.Clone(p.Bytecode32) // gVisor fills the values in where they are.
		to[p.Name] = p
	}
}

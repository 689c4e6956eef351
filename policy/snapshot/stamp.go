package snapshot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// Stamp is what a restore depends on, as reported by drivers.
type Stamp = vm.Stamp

// rule is what differs between drivers.
type rule struct {
	// sameKernel: a snapshot fits only the kernel that its stamp names.
	sameKernel bool
	// anyVersion: the driver restores a snapshot with the version that saved it if it has that, and
	// refuses it before it starts anything otherwise.
	anyVersion bool
}

// rules is the one table of what differs between drivers. A driver that is not
// in it gets the strictest rule.
//
// All drivers here make full snapshots: each holds all of its memory and of its
// private layer, so none needs its parent. The guest's kernel is recorded for the
// reader of a manifest and decides nothing: gVisor's is gVisor itself, whose
// version is compared by its driver, and that of a guest which booted one is in its
// memory.
var rules = map[string]rule{
	"mem":         {},
	"gvisor":      {anyVersion: true},
	"firecracker": {},
	"qemu":        {},
	"vz":          {},
}

func ruleOf(driver string) rule {
	if r, ok := rules[driver]; ok {
		return r
	}
	return rule{sameKernel: true}
}

// IncompatibleError says why a snapshot cannot be restored on a host. It is a
// vm.ErrIncompatible.
type IncompatibleError struct {
	Field string // "driver", "version", "arch", "platform", "kernel", "flags" or "cpu features"
	// Wanted is what the snapshot needs, Have what the host has. For cpu
	// features and flags it is the difference only.
	Wanted, Have string
}

func (e *IncompatibleError) Error() string {
	have := e.Have
	if have == "" {
		have = "none"
	}
	if e.Field == "cpu features" {
		have = "no such feature"
	}
	return fmt.Sprintf("%v: it needs %s %.300s, this host has %.300s", vm.ErrIncompatible, e.Field, orNone(e.Wanted), have)
}

// Unwrap makes it a vm.ErrIncompatible.
func (e *IncompatibleError) Unwrap() error { return vm.ErrIncompatible }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Compatible reports whether a snapshot with the stamp made can be restored on
// host: nil, or an *IncompatibleError for the first thing that does not fit.
// Driver, version, architecture, platform and flags must be equal; the host
// must have every CPU feature of the snapshot; the kernel counts where the
// driver's rule says so. It is asked before anything starts.
func Compatible(made, host Stamp) error {
	made, host = sortStamp(made), sortStamp(host)
	for _, c := range []struct {
		field        string
		wanted, have string
		counts       bool
	}{
		{"driver", made.Driver, host.Driver, true},
		{"version", made.Version, host.Version, true},
		{"arch", made.Arch, host.Arch, true},
		{"platform", made.Platform, host.Platform, true},
		{"kernel", made.Kernel, host.Kernel, ruleOf(made.Driver).sameKernel},
	} {
		if c.counts && c.wanted != c.have {
			return &IncompatibleError{Field: c.field, Wanted: c.wanted, Have: c.have}
		}
	}
	if !slices.Equal(made.Flags, host.Flags) {
		return &IncompatibleError{Field: "flags", Wanted: list(minus(made.Flags, host.Flags)), Have: list(minus(host.Flags, made.Flags))}
	}
	if missing := minus(made.CPUFeatures, host.CPUFeatures); len(missing) > 0 {
		return &IncompatibleError{Field: "cpu features", Wanted: list(missing)}
	}
	return nil
}

// Compatible is Compatible for the artifact. One without memory boots, and no
// program that found the features of another processor runs on: there they do
// not count, nor does the kernel.
func (m Manifest) Compatible(host Stamp) error {
	made := m.Stamp
	if !m.Kind.Memory() {
		made.CPUFeatures, made.Kernel = nil, host.Kernel
	}
	if made.Driver == host.Driver && ruleOf(made.Driver).anyVersion {
		made.Version = host.Version
	}
	return Compatible(made, host)
}

// minus returns the elements of a that are not in b, both sorted.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool {
		_, found := slices.BinarySearch(b, s)
		return found
	})
}

// list shows a few names.
func list(names []string) string {
	const few = 8
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// sortStamp returns s with its lists sorted and copied.
func sortStamp(s Stamp) Stamp {
	s.Flags = set(s.Flags)
	s.CPUFeatures = set(s.CPUFeatures)
	return s
}

// set returns the distinct names, sorted; nil for none.
func set(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func validateStamp(s Stamp) error {
	if s.Driver == "" || s.Version == "" || s.Arch == "" {
		return fmt.Errorf("stamp without driver, version or architecture: %.40q %.40q %.40q", s.Driver, s.Version, s.Arch)
	}
	for what, text := range map[string]string{
		"driver": s.Driver, "version": s.Version, "arch": s.Arch, "kernel": s.Kernel, "platform": s.Platform,
	} {
		if err := line(what, text); err != nil {
			return err
		}
	}
	if len(s.Flags) > maxFlags || len(s.CPUFeatures) > maxFeatures {
		return fmt.Errorf("%d flags and %d CPU features, more than %d and %d", len(s.Flags), len(s.CPUFeatures), maxFlags, maxFeatures)
	}
	for what, names := range map[string][]string{"flag": s.Flags, "CPU feature": s.CPUFeatures} {
		for _, name := range names {
			if name == "" {
				return fmt.Errorf("empty %s", what)
			}
			if err := line(what, name); err != nil {
				return err
			}
		}
	}
	return nil
}

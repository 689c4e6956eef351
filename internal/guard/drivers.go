package guard

import (
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// notDrivers are the packages below vm that are not drivers: what registers and judges
// them, the parts that those with a guest kernel have alike, and the in-memory one, which no program has.
var notDrivers = map[string]bool{"drivers": true, "vmtest": true, "microvm": true, "memvm": true}

// driverExceptions are the files, or directories, that may know a driver's name, and
// why.
type driverExceptions map[string]string

var knowDrivers = driverExceptions{
	"vm/drivers":                        "is the one place that brings the drivers in",
	"cmd/rundlet-sandbox":               "is the processes of that driver's sandboxes, and no program that chooses a driver",
	"cmd/rundlet/kernels":               "says in its help which drivers boot a kernel",
	"internal/cgroups":                  "takes the control groups of that project's library, and knows nothing of its sandboxes",
	"internal/embedded/build":           "builds what a driver carries",
	"internal/guard":                    "has the rules of each driver's package",
	"internal/testmachine":              "runs that emulator for tests that need another kernel, and no sandbox",
	"network/usernet":                   "has the TCP/IP stack of that project, and knows nothing of its sandboxes",
	"vm/gvisor/sentry/filters/generate": "runs a program for another processor in that emulator, and no machine",
	"policy/snapshot/stamp.go":          "has the rules for snapshots of every driver, also of those that are not in this build; an unknown one gets the strictest",
}

func (e driverExceptions) of(path string) (key string, ok bool) {
	for key := range e {
		if within(path, key) {
			return key, true
		}
	}
	return "", false
}

// DriverNames checks that a driver is known to its own package only: no other imports
// it or has its name in an identifier or a string. What a program does with a driver
// goes by the registry of package vm. Comments and tests may name it.
func DriverNames(sources []Source) []Finding {
	var out []Finding
	drivers := driversOf(sources)
	for _, s := range sources {
		if _, ok := knowDrivers.of(s.Path); ok {
			continue
		}
		if name, what := s.namesDriver(drivers); name != "" {
			out = append(out, findingf(s.Path, "knows the driver %s (%s): only vm/%s may; use the registry in package vm", name, what, name))
		}
	}
	return out
}

// unusedExceptions returns a rule that finds the exceptions that nothing needs.
func unusedExceptions(exceptions driverExceptions) func([]Source) []Finding {
	return func(sources []Source) []Finding {
		used, drivers := map[string]bool{}, driversOf(sources)
		for _, s := range sources {
			if key, ok := exceptions.of(s.Path); ok {
				if name, _ := s.namesDriver(drivers); name != "" {
					used[key] = true
				}
			}
		}
		var out []Finding
		for _, key := range slices.Sorted(maps.Keys(exceptions)) {
			if !used[key] {
				out = append(out, findingf(key, "does not know a driver any more: remove it from knowDrivers in internal/guard"))
			}
		}
		return out
	}
}

// driversOf returns the names of the drivers: they are those of their packages.
func driversOf(sources []Source) []string {
	names := map[string]bool{}
	for _, s := range sources {
		if rest, ok := strings.CutPrefix(s.Dir(), "vm/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			if !notDrivers[name] {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// namesDriver returns a driver that a file outside its package knows, and by what.
func (s Source) namesDriver(drivers []string) (name, what string) {
	if s.Test() || s.Generated {
		return "", ""
	}
	see := func(text string) {
		for _, d := range drivers {
			if name == "" && !within(s.Dir(), "vm/"+d) && strings.Contains(strings.ToLower(text), d) {
				name, what = d, text
			}
		}
	}
	ast.Inspect(s.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			see(n.Name)
		case *ast.BasicLit: // Imports too.
			if n.Kind == token.STRING {
				see(n.Value)
			}
		}
		return name == ""
	})
	return name, what
}

package guard

import "slices"

// unlinked are packages that a program must not be linked with, by what else it imports either.
var unlinked = []struct {
	program, in, why string
}{
	{"cmd/rundlet", "gvisor.dev/gvisor/pkg/sentry", "gVisor's kernel is in the sandbox program only: it is 20 MB, and its initialisers run at each start"},
	{"cmd/rundlet", "gvisor.dev/gvisor/runsc/boot", "gVisor's kernel is in the sandbox program only: see vm/gvisor/control and vm/gvisor/spawn"},
}

// Unlinked finds them among the packages that a program is linked with. The first one is enough:
// go mod why, or go list -deps, says how it comes in.
func Unlinked(program string, linked []string) []Finding {
	var out []Finding
	for _, u := range unlinked {
		if u.program != program {
			continue
		}
		if i := slices.IndexFunc(linked, func(p string) bool { return within(p, u.in) }); i >= 0 {
			out = append(out, findingf(program, "is linked with %s: %s", linked[i], u.why))
		}
	}
	return out
}

package guard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/internal/guard/picture"
)

// onlyStandard are the layers that import the standard library only, beside what
// they may import of this module.
var onlyStandard = []string{"vm", "envd"}

// agentImporters may import the program inside the guest: what the host
// needs of it is in envd. Any layer above may import agentBinary, which embeds it.
var (
	agentImporters = []string{"agent", "cmd/rundlet-agent", "e2e"}
	agentBinary    = "agent/embedded"
)

// Layers checks the direction of every import between packages of this module.
// Test files may import anything: they are not part of a program.
func Layers(sources []Source) []Finding {
	var out []Finding
	unknown := map[string]bool{}
	for _, s := range sources {
		if s.Test() {
			continue
		}
		l, ok := picture.Of(s.Dir())
		if !ok {
			if !unknown[s.Dir()] {
				unknown[s.Dir()] = true
				out = append(out, findingf(s.Dir(), "the package is in no layer: add it to internal/guard/picture and to docs/architecture.md"))
			}
			continue
		}
		for _, p := range s.Imports() {
			target, ours := strings.CutPrefix(p, Module+"/")
			if !ours {
				if slices.Contains(onlyStandard, l.Dir) && !standard(p) {
					out = append(out, findingf(s.Path, "imports %s; %s", p, l.Why))
				}
				continue
			}
			if within(target, "agent") && target != agentBinary && !withinAny(s.Dir(), agentImporters) {
				out = append(out, findingf(s.Path, "imports %s, the program inside the guest; what the host needs of it is in %s", target, protocol))
				continue
			}
			if !l.Allows(target) {
				out = append(out, findingf(s.Path, "imports %s; %s may import %s of this module: %s", target, l.Dir, mayImport(l), l.Why))
			}
		}
	}
	return out
}

func mayImport(l picture.Layer) string {
	if len(l.May) == 0 {
		return "nothing"
	}
	return fmt.Sprint(l.May)
}

// standard reports whether an import path is of the standard library: its
// first element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

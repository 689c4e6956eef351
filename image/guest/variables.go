//go:build linux

package guest

import (
	"cmp"
	"slices"
	"strings"
)

// maxVariable is Linux's bound on one variable, with the NUL that ends it.
const maxVariable = 128 << 10

// Variables returns the environment that programs have of an image whose configuration has env: of several entries with one name, the
// last. Entries that no process can have are left out and counted: those without a name, with a NUL, and those that Linux takes for too long.
func Variables(env []string) (variables map[string]string, leftOut int) {
	variables = map[string]string{}
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" || strings.Contains(entry, "\x00") || len(entry) >= maxVariable {
			leftOut++
			continue
		}
		variables[name] = value
	}
	return variables, leftOut
}

// searchPath is the PATH of an image's environment, with ours before it. It is part of a shell's profile: one that would not be a
// PATH there is not taken.
func searchPath(env []string) string {
	variables, _ := Variables(env)
	path := cmp.Or(variables["PATH"], systemPath)
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune("\"'$`\\{}", c) }) {
		path = systemPath
	}
	if slices.Contains(strings.Split(path, ":"), binDir) {
		return path
	}
	return binDir + ":" + path
}

package launch

import (
	"path/filepath"
	"regexp"
	"strings"
)

// ProcessPrefix begins the command line of a process of a sandbox.
const ProcessPrefix = "runsc-"

var engineName = regexp.MustCompile(`^rundlet-sandbox-[0-9a-f]{16}$`)

// EngineName returns the name of the sandbox program at a path, which has its digest. The
// path may be what /proc says that a process runs, whose file may be removed. It is empty
// for a program that is not named by its digest.
func EngineName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), " (deleted)")
	if !engineName.MatchString(name) {
		return ""
	}
	return name
}

package launch

import (
	"encoding/hex"
	"path/filepath"
	"strings"
)

// ProcessPrefix begins the command line of a process of a sandbox.
const ProcessPrefix = "runsc-"

// The name of an engine: this, and half of the digits of a digest.
const (
	enginePrefix = "rundlet-sandbox-"
	engineDigits = 16
)

// EngineName returns the name of the sandbox program at a path, which has its digest. The
// path may be what /proc says that a process runs, whose file may be removed. It is empty
// for a program that is not named by its digest.
func EngineName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), " (deleted)")
	digits, ok := strings.CutPrefix(name, enginePrefix)
	if _, err := hex.DecodeString(digits); !ok || err != nil || len(digits) != engineDigits {
		return ""
	}
	return name
}

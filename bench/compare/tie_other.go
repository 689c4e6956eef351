//go:build !linux

package compare

import "os/exec"

// tie does nothing: without control groups there is no comparison.
func tie(*exec.Cmd) {}

//go:build linux

package gvisor

import (
	"strings"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// killStrays ends the processes that were started for the given bundles, by the bundle in
// their command line: its name is random, so it is unique. After an error some may be left.
func killStrays(bundles map[string]bool) error {
	if len(bundles) == 0 {
		return nil
	}
	return process.KillMatching(func(commandLine string) bool {
		bundle := bundleIn(commandLine)
		return bundle != "" && bundles[bundle]
	})
}

// bundleIn is the bundle of a process of a sandbox; empty for another one.
func bundleIn(commandLine string) string {
	if !strings.HasPrefix(commandLine, launch.ProcessPrefix) {
		return ""
	}
	_, bundle := launch.Command(strings.Split(commandLine, "\x00"))
	return bundle
}

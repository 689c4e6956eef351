//go:build linux

package sudo

// Main is filled in below.
func Main(args []string) int { return 1 }

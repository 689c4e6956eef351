//go:build linux

// Command rundlet-sandbox is the processes of a gVisor sandbox: the sentry, the file
// server, and the helper that hides /proc. The gVisor driver starts it, with a command line
// that is gVisor's; it is of no use to anybody else. It is a program apart because each
// start costs what the program has in it.
package main

import (
	"fmt"
	"os"

	"github.com/rundlet/rundlet/vm/gvisor/sentry"
	_ "github.com/rundlet/rundlet/vm/gvisor/sentry/umount" // Does its work before the others begin.
)

func main() {
	if !sentry.Started() {
		fmt.Fprintln(os.Stderr, "rundlet-sandbox: only the gVisor driver starts this program")
		os.Exit(2)
	}
	sentry.Main()
}

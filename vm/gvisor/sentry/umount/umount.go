//go:build linux

// Package umount is gVisor's command of that name, for a sentry that hides /proc once it
// is set up. Each sentry starts it as a third process of the program and waits for it.
// The whole command is the package's init function: Go initialises packages that are ready
// in the order of their import paths, so this one comes before those of gVisor and most
// others, whose initialisation is nearly all that the process would do.
//
// It may import os and syscall only, or it would come later; the program of sandboxes
// imports it for its effect.
package umount

import (
	"os"
	"slices"
	"syscall"
)

// failed is the exit status of gVisor's commands that fail.
const failed = 128

func init() {
	if slices.Equal(os.Args, []string{"/proc/self/exe", "umount", "--sync-fd=3", "/proc"}) {
		os.Exit(run(os.NewFile(3, "sync"), "/proc"))
	}
}

// run waits for a byte, and then takes the mount at path away.
func run(sync *os.File, path string) int {
	defer sync.Close()
	if n, err := sync.Read(make([]byte, 1)); err != nil || n != 1 {
		return failed
	}
	if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
		return failed
	}
	return 0
}

//go:build linux

package sentry

import (
	"fmt"
	"os"
	"syscall"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// enterEngine executes the engine at a path in the place of this process, with the same
// arguments, descriptors and environment. It returns if this process runs that engine: the
// same file is read again after the execution, which must happen once.
func enterEngine(path string) error {
	if path == "" {
		return nil
	}
	name := launch.EngineName(path)
	if name == "" {
		return fmt.Errorf("the sandbox program %s is not named by its digest", path) // It would not know itself.
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	if launch.EngineName(self) == name {
		return nil
	}
	if err := syscall.Exec(path, os.Args, os.Environ()); err != nil { //nolint:gosec // The driver names it.
		return fmt.Errorf("execute the sandbox program %s: %w", path, err)
	}
	return nil
}

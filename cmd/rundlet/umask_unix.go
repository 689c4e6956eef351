//go:build unix

package main

import "golang.org/x/sys/unix"

// privateFiles makes files that this process creates, libraries included, accessible
// to their owner only unless the mode is set explicitly.
func privateFiles() { unix.Umask(0o077) }

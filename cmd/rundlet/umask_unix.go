//go:build unix

package main

import "golang.org/x/sys/unix"

// privateFiles makes every file that this process creates one for its owner only,
// unless it says otherwise: those of libraries too.
func privateFiles() { unix.Umask(0o077) }

package host

import (
	"errors"
	"syscall"
)

// What the daemon or its host can be short of.
const (
	LackDescriptors = "file descriptors"
	LackMemory      = "memory"
	LackPorts       = "local ports"
	LackProcesses   = "processes"
	LackConntrack   = "connection tracking entries"
)

// Lack returns what this process or its host is short of if that is why err
// happened, and "" otherwise. Such an error says nothing about a peer.
func Lack(err error) string {
	for _, l := range []struct {
		err  error
		what string
	}{
		{syscall.EMFILE, LackDescriptors}, {syscall.ENFILE, LackDescriptors},
		{syscall.ENOMEM, LackMemory}, {syscall.ENOBUFS, LackMemory},
		{syscall.EADDRNOTAVAIL, LackPorts},
	} {
		if errors.Is(err, l.err) {
			return l.what
		}
	}
	return ""
}

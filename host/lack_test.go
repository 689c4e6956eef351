package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestAnErrorOfTheDaemonIsToldFromOneOfAPeer(t *testing.T) {
	dial := func(e syscall.Errno) error {
		return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", e)})
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{dial(syscall.EMFILE), LackDescriptors},
		{&os.PathError{Op: "open", Path: "/proc/thread-self/ns/net", Err: syscall.ENFILE}, LackDescriptors},
		{dial(syscall.ENOBUFS), LackMemory},
		{dial(syscall.ENOMEM), LackMemory},
		{dial(syscall.EADDRNOTAVAIL), LackPorts},
		{dial(syscall.ECONNREFUSED), ""},
		{dial(syscall.EHOSTUNREACH), ""}, // A guest that does not answer ARP.
		{context.DeadlineExceeded, ""},
		{nil, ""},
	} {
		if got := Lack(tc.err); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, got, tc.want)
		}
	}
}

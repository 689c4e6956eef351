package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/node/names"
)

// portPatience is how long a port may be taken. A daemon that was killed while it
// started a process has left the port to that process until it executes.
const portPatience = 2 * time.Second

// listenAt listens at an address, and waits a while for one that is in use.
func listenAt(ctx context.Context, sockets names.Sockets, address string, patience time.Duration) (net.Listener, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ln, err := sockets.Listen(ctx, "tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
		select {
		case <-patient.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// reachable is the address by which this machine reaches a listener.
func reachable(addr *net.TCPAddr) string {
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", addr.Port)
	}
	return addr.String()
}

package machine

import (
	"context"
	"errors"
	"net"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/vm"
)

// Dial opens a port of a guest. A server that listens on the guest's
// loopback only is not reachable from outside; for that one the agent makes the
// connection inside.
func (m *Machines) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	conn, err := m.dialer.Dial(ctx, id, port)
	if err == nil || port == envd.Port || !errors.Is(err, vm.ErrUnavailable) || host.Lack(err) != "" {
		return conn, err
	}
	conn, err = envd.DialPort(ctx, m.Agent(id), m.cfg.Tokens.Control(id), int(port))
	if errors.Is(err, envd.ErrPortClosed) {
		return nil, vm.ErrUnavailable
	}
	return conn, err
}

package runtime

import (
	"context"
	"errors"
	"net"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/vm"
)

// dialPort opens a port of a guest. A server that listens on the guest's
// loopback only is not reachable from outside; for that one the agent makes the
// connection inside.
func (r *Runtime) dialPort(ctx context.Context, id string, port uint16) (net.Conn, error) {
	conn, err := r.dialer.Dial(ctx, id, port)
	if err == nil || port == envd.Port || !errors.Is(err, vm.ErrUnavailable) || host.Lack(err) != "" {
		return conn, err
	}
	conn, err = envd.DialPort(ctx, r.agentDial(id), r.token("control", id), int(port))
	if errors.Is(err, envd.ErrPortClosed) {
		return nil, vm.ErrUnavailable
	}
	return conn, err
}

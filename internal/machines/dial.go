package machines

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/rundlet/rundlet/vm"
)

// Dialer is vm.Options.DialContext: it reaches a guest address; nil is a plain net.Dialer.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Dial implements vm.Dialer. address returns that of a machine's guest, or "". It never waits for a machine's turn.
func (t *Table[M]) Dial(ctx context.Context, id string, port uint16, dial Dialer, address func(m M) string) (net.Conn, error) {
	const op = "dial"
	m, err := t.Find(op, id)
	if err != nil {
		return nil, err
	}
	if _, status, _ := t.State(m); status != vm.StatusRunning {
		return nil, vm.TransitionError(op, id, status, vm.StatusRunning)
	}
	guest := address(m)
	if guest == "" {
		return nil, Failure(op, id, vm.ErrUnsupported, errors.New("the machine has no guest address"))
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(guest, strconv.Itoa(int(port))))
	if err != nil {
		if ctx.Err() != nil {
			return nil, Failure(op, id, nil, ctx.Err())
		}
		return nil, Failure(op, id, vm.ErrUnavailable, err)
	}
	return m.base().Conns.Track(conn), nil
}

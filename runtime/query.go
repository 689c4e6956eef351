package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Get returns a running or paused sandbox, or one on its way between the two;
// ErrSandboxNotFound for others.
func (r *reads) Get(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if sb, ok := r.live.Find(id); ok && sb.Elsewhere != nil && sb.State().Visible() {
		return view(&r.parts, sb.Row()), nil // It is there, and no call but this one may have it.
	}
	sb, err := r.live.Serving(ctx, id)
	if err != nil {
		return sandbox.Sandbox{}, err
	}
	if !sb.State().Visible() {
		return sandbox.Sandbox{}, sb.Gone()
	}
	return view(&r.parts, sb.Row()), nil
}

// Killed returns the newest killed sandboxes with their reasons, for an
// operator; at most limit.
func (r *reads) Killed(ctx context.Context, limit int) ([]sandbox.Sandbox, error) {
	rows, err := r.cfg.Store.Sandboxes.Killed(ctx, limit)
	if err != nil {
		return nil, err
	}
	out := make([]sandbox.Sandbox, len(rows))
	for i, row := range rows {
		out[i] = view(&r.parts, row)
	}
	return out, nil
}

// Dial opens a stream to a TCP port in the sandbox.
func (r *Runtime) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	sb, err := r.live.Serving(ctx, id)
	if errors.Is(err, sandbox.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", sandbox.ErrNotRunning, err)
	}
	if err != nil {
		return nil, err
	}
	s, run := live.Run(sb)
	switch s {
	case sandbox.StateRunning:
	case sandbox.StatePaused, sandbox.StateKilled, sandbox.StateKilling:
		return nil, fmt.Errorf("sandbox %s is %s: %w", id, s, sandbox.ErrNotRunning)
	default:
		return nil, fmt.Errorf("sandbox %s is %s: %w", id, s, sandbox.ErrConflict)
	}
	sb.NoteTraffic() // Also without an answer: a sandbox that hangs must not count as one that is not used.
	conn, err := r.machines.Dial(ctx, id, port)
	s, now := live.Run(sb)
	switch {
	case err == nil:
		return sb.CountTraffic(conn), nil
	case s != sandbox.StateRunning || now != run: // It may have been paused, and run again.
		return nil, fmt.Errorf("sandbox %s: %w", id, sandbox.ErrNotRunning)
	case host.Lack(err) != "":
		return nil, fmt.Errorf("dial sandbox %s port %d: %w: %w", id, port, sandbox.ErrLacking, err)
	case errors.Is(err, vm.ErrUnavailable):
		return nil, fmt.Errorf("sandbox %s port %d: %w", id, port, sandbox.ErrPortClosed)
	}
	return nil, fmt.Errorf("dial sandbox %s port %d: %w", id, port, err)
}

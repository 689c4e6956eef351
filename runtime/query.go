package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/vm"
)

// Get returns a running or paused sandbox, or one on its way between the two;
// ErrSandboxNotFound for others.
func (r *Runtime) Get(ctx context.Context, id string) (Sandbox, error) {
	sb, err := r.serving(ctx, id)
	if err != nil {
		return Sandbox{}, err
	}
	if !visible(sb.state()) {
		return Sandbox{}, sb.gone()
	}
	return r.view(sb.snapshot()), nil
}

// visible states are those a client sees; the others come or go.
func visible(s State) bool {
	return s == StateRunning || s == StatePaused || s == StatePausing || s == StateResuming
}

// Shown is the state as E2B's clients know it, who see running and paused
// only: until a change is complete it has not happened.
func (s State) Shown() State {
	switch s {
	case StatePausing:
		return StateRunning
	case StateResuming:
		return StatePaused
	}
	return s
}

// Killed returns the newest killed sandboxes with their reasons, for an
// operator; at most limit.
func (r *Runtime) Killed(ctx context.Context, limit int) ([]Sandbox, error) {
	rows, err := r.cfg.Store.KilledSandboxes(ctx, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Sandbox, len(rows))
	for i, row := range rows {
		out[i] = r.view(row)
	}
	return out, nil
}

// Dial opens a stream to a TCP port in the sandbox.
func (r *Runtime) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	sb, err := r.serving(ctx, id)
	if errors.Is(err, ErrSandboxNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	if err != nil {
		return nil, err
	}
	switch s := sb.state(); s {
	case StateRunning:
	case StatePaused, StateKilled, StateKilling:
		return nil, fmt.Errorf("sandbox %s is %s: %w", id, s, ErrNotRunning)
	default:
		return nil, fmt.Errorf("sandbox %s is %s: %w", id, s, ErrConflict)
	}
	conn, err := r.dialPort(ctx, id, port)
	switch {
	case err == nil:
		return conn, nil
	case sb.state() != StateRunning:
		return nil, fmt.Errorf("sandbox %s: %w", id, ErrNotRunning)
	case host.Lack(err) != "":
		return nil, fmt.Errorf("dial sandbox %s port %d: %w: %w", id, port, ErrLacking, err)
	case errors.Is(err, vm.ErrUnavailable):
		return nil, fmt.Errorf("sandbox %s port %d: %w", id, port, ErrPortClosed)
	}
	return nil, fmt.Errorf("dial sandbox %s port %d: %w", id, port, err)
}

// all returns the sandboxes that are not killed, in no order.
func (r *Runtime) all() []*sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.sandboxes))
}

package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

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
		return Sandbox{}, r.ends.gone(id)
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

// List returns the sandboxes that match, in order.
func (r *Runtime) List(ctx context.Context, f ListFilter) ([]Sandbox, error) {
	states := f.States
	if len(states) == 0 {
		states = []State{StateRunning, StatePaused}
	}
	var out []Sandbox
	for _, sb := range r.all() {
		view := r.view(sb.snapshot())
		view.State = sb.state()
		if slices.Contains(states, view.State.Shown()) && f.matches(view) {
			out = append(out, view)
		}
	}
	order := f.compare
	slices.SortFunc(out, order)
	if f.After != nil {
		at := Sandbox{ID: f.After.ID, StartedAt: f.After.StartedAt}
		n, found := slices.BinarySearchFunc(out, at, order)
		if found {
			n++
		}
		out = out[n:]
	}
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out, nil
}

func (f ListFilter) matches(sb Sandbox) bool {
	if f.Template != "" && f.Template != sb.TemplateID && f.Template != sb.Alias {
		return false
	}
	if !f.StartedAfter.IsZero() && sb.StartedAt.Truncate(time.Millisecond).Before(f.StartedAfter.Truncate(time.Millisecond)) {
		return false
	}
	for k, v := range f.Metadata {
		if have, ok := sb.Metadata[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// compare is the list order: by start, ties by id. It compares to the
// microsecond, which is what the store and a cursor keep.
func (f ListFilter) compare(a, b Sandbox) int {
	byStart := cmp.Compare(a.StartedAt.UnixMicro(), b.StartedAt.UnixMicro())
	if !f.Ascending {
		byStart = -byStart
	}
	return cmp.Or(byStart, strings.Compare(a.ID, b.ID))
}

// Dial opens a stream to a TCP port in the sandbox.
func (r *Runtime) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	sb, err := r.serving(ctx, id)
	if errors.Is(err, ErrSandboxNotFound) {
		return nil, fmt.Errorf("sandbox %q: %w", id, ErrNotRunning)
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

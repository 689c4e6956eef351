package fakeruntime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// resume is one that any number of callers wait for.
type resume struct {
	done chan struct{}
	err  error
}

// Pause implements e2b.RuntimeAdapter. Ports other than the agent's do not
// outlive a pause without memory.
func (f *Runtime) Pause(ctx context.Context, id string, memory bool) error {
	if err := f.failure(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb := f.sandboxes[id]
	switch {
	case sb == nil:
		return fmt.Errorf("pause %s: %w", id, sandbox.ErrNotFound)
	case sb.State != sandbox.StateRunning:
		return fmt.Errorf("pause %s: %w: it is %s", id, sandbox.ErrConflict, sb.State)
	}
	sb.State = sandbox.StatePausing
	sb.pausing = make(chan struct{})
	defer close(sb.pausing)
	if err := f.Transitions.await(ctx, &f.mu, f.Transitions.beginPause()); err != nil {
		sb.State = sandbox.StateRunning
		return err
	}
	if !f.Silent {
		for _, c := range sb.conns {
			c.Close()
		}
	}
	if !memory {
		for port, ln := range sb.ports {
			if port != envd.Port {
				ln.Close()
				delete(sb.ports, port)
			}
		}
	}
	sb.conns, sb.State, sb.FilesystemOnly = nil, sandbox.StatePaused, !memory
	return nil
}

// Connect implements e2b.RuntimeAdapter.
func (f *Runtime) Connect(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	sb, resumed, err := f.awake(ctx, id, true)
	if err == nil {
		err = f.Extend(ctx, id, timeout)
	}
	if err == nil {
		sb, err = f.Get(ctx, id)
	}
	return sb, resumed, err
}

// Reboot implements e2b.RuntimeAdapter.
func (f *Runtime) Reboot(ctx context.Context, id string, timeout time.Duration) (sandbox.Sandbox, bool, error) {
	f.Transitions.beginReboot(id)
	return f.Connect(ctx, id, timeout)
}

// Wake implements e2b.RuntimeAdapter.
func (f *Runtime) Wake(ctx context.Context, id string) (sandbox.Sandbox, error) {
	sb, _, err := f.awake(ctx, id, false)
	return sb, err
}

// Settled implements e2b.RuntimeAdapter.
func (f *Runtime) Settled(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if err := f.failure(); err != nil {
		return sandbox.Sandbox{}, err
	}
	f.mu.Lock()
	sb := f.sandboxes[id]
	if sb != nil && sb.State == sandbox.StatePausing {
		_ = f.Transitions.await(ctx, &f.mu, sb.pausing)
	}
	f.mu.Unlock()
	return f.Get(ctx, id)
}

func (f *Runtime) awake(ctx context.Context, id string, asked bool) (sandbox.Sandbox, bool, error) {
	if err := f.failure(); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sb := f.sandboxes[id]
	switch {
	case sb == nil:
		return sandbox.Sandbox{}, false, fmt.Errorf("wake %s: %w", id, sandbox.ErrNotFound)
	case sb.State == sandbox.StateRunning:
		return sb.Sandbox, false, nil
	case !asked && (!sb.AutoResume || sb.FilesystemOnly):
		if sb.State == sandbox.StatePausing && f.Transitions.await(ctx, &f.mu, sb.pausing) == nil && sb.State == sandbox.StateRunning {
			return sb.Sandbox, false, nil
		}
		return sandbox.Sandbox{}, false, fmt.Errorf("wake %s: %w", id, sandbox.ErrNotRunning)
	}
	r := sb.resume
	if r == nil {
		r = &resume{done: make(chan struct{})}
		sb.resume = r
		go f.doResume(sb, r)
	}
	if err := f.Transitions.await(ctx, &f.mu, r.done); err != nil {
		return sandbox.Sandbox{}, false, err
	}
	return sb.Sandbox, r.err == nil, r.err
}

func (f *Runtime) doResume(sb *entry, r *resume) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sb.State == sandbox.StatePausing {
		f.mu.Unlock()
		<-sb.pausing
		f.mu.Lock()
	}
	if held := f.Transitions.beginResume(); held != nil {
		f.mu.Unlock()
		<-held
		f.mu.Lock()
	}
	sb.resume = nil
	r.err = f.Transitions.failure()
	if r.err == nil {
		sb.State, sb.StartedAt, sb.FilesystemOnly = sandbox.StateRunning, start(f), false
		sb.EndAt = Epoch.Add(300 * time.Second)
	}
	close(r.done)
}

package memvm

import (
	"context"
	"net"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// alive returns the guest of a machine that is not destroyed.
func (d *Driver) alive(ctx context.Context, op, id string) (*Guest, vm.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fail(op, id, nil, err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	r := d.records[id]
	switch {
	case r == nil || r.status == "":
		return nil, "", fail(op, id, vm.ErrNotFound, nil)
	case r.status == vm.StatusDestroyed:
		return nil, "", vm.TransitionError(op, id, r.status, r.status)
	}
	return r.guest, r.status, nil
}

// running returns the guest of a running machine.
func running(ctx context.Context, d *Driver, op, id string) (*Guest, error) {
	g, status, err := d.alive(ctx, op, id)
	if err == nil && (status != vm.StatusRunning || g.ended()) {
		err = vm.TransitionError(op, id, status, vm.StatusRunning)
	}
	return g, err
}

// PageOut implements vm.PageOuter. Nothing is paged out: it frees what Stats counts, each
// time.
func (d *Driver) PageOut(ctx context.Context, id string) (freed int64, err error) {
	if _, err := running(ctx, d, "page out", id); err != nil {
		return 0, err
	}
	s, err := d.Stats(ctx, id)
	return s.MemoryBytes, err
}

// Dial implements vm.Dialer.
func (d *Driver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	const op = "dial"
	g, err := running(ctx, d, op, id)
	if err != nil {
		return nil, err
	}
	serve := g.listener(port)
	if serve == nil && d.opts.Handler != nil {
		serve = d.opts.Handler(id, port)
	}
	if serve == nil {
		return nil, fail(op, id, vm.ErrUnavailable, nil)
	}
	conn, ok := g.connect(serve)
	if !ok {
		return nil, vm.TransitionError(op, id, vm.StatusStopped, vm.StatusRunning)
	}
	return conn, nil
}

func (g *Guest) listener(port uint16) func(net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if serve := g.img.listeners[port]; serve != nil {
		return func(c net.Conn) { serve(g, c) }
	}
	return nil
}

// connect serves one end of a pipe until serve returns or the guest ends, and
// returns the other.
func (g *Guest) connect(serve func(net.Conn)) (net.Conn, bool) {
	inside, outside := net.Pipe()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != "" {
		return nil, false
	}
	g.conns[inside] = struct{}{}
	go func() {
		defer func() {
			inside.Close()
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(g.conns, inside)
		}()
		serve(inside)
	}()
	return outside, true
}

// ConsoleTail implements vm.Console.
func (d *Driver) ConsoleTail(ctx context.Context, id string, max int) ([]string, error) {
	g, _, err := d.alive(ctx, "console", id)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.console.Last(max), nil
}

// Stats implements vm.Statser. The memory is the size of the guest's values.
func (d *Driver) Stats(ctx context.Context, id string) (vm.Stats, error) {
	g, _, err := d.alive(ctx, "stats", id)
	if err != nil {
		return vm.Stats{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := vm.Stats{Time: time.Now(), Processes: 1, Weight: g.weight, MemoryLimitBytes: int64(g.img.spec.MemoryMiB) << 20}
	for k, v := range g.img.memory {
		s.MemoryBytes += int64(len(k) + len(v))
	}
	return s, nil
}

// SetWeight implements vm.Weigher. Nothing is run, so it divides nothing.
func (d *Driver) SetWeight(ctx context.Context, id string, weight int) error {
	const op = "set weight"
	g, _, err := d.alive(ctx, op, id)
	if err != nil {
		return err
	}
	if weight < vm.MinWeight || weight > vm.MaxWeight {
		return fail(op, id, vm.ErrInvalid, nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.weight = weight
	return nil
}

// Wait implements vm.Waiter.
func (d *Driver) Wait(ctx context.Context, id string) (string, error) {
	const op = "wait"
	if err := ctx.Err(); err != nil {
		return "", fail(op, id, nil, err)
	}
	r, _ := d.lookup(id)
	if r == nil {
		return "", fail(op, id, vm.ErrNotFound, nil)
	}
	d.mu.RLock()
	g := r.guest
	d.mu.RUnlock()
	if g == nil {
		return reasonDestroyed, nil
	}
	select {
	case <-g.done:
		return g.exitReason(), nil
	case <-ctx.Done():
		return "", fail(op, id, nil, ctx.Err())
	}
}

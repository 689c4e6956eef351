// Package background runs the goroutines of the runtime's parts and ends them
// together. It imports the standard library only.
package background

import (
	"context"
	"sync"
	"time"
)

// Group is a set of goroutines with one end. Safe for concurrent use.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu sync.Mutex // orders Go and Stop, so that Wait misses none
	wg sync.WaitGroup
}

// New returns a group whose context has the values of ctx, and ends with Stop
// only.
func New(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return g
}

// Context returns the context that Stop ends.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f in a goroutine that Wait waits for. After Stop it runs nothing and
// reports false.
func (g *Group) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return false
	}
	g.wg.Go(f)
	return true
}

// Stop ends the group's context. Functions that run are to end by that.
func (g *Group) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cancel()
}

// Wait returns when every function has returned. It is called after Stop.
func (g *Group) Wait() { g.wg.Wait() }

// Grace is how long a lifecycle call that was broken off has for its own end. It is
// a call that heeds its context or one that hangs; nothing is slow in between.
const Grace = 2 * time.Second

// CleanupTimeout bounds one attempt to free the resources of a sandbox.
const CleanupTimeout = 30 * time.Second

// Detached returns a context for work that has to end even when the caller goes
// away.
func Detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
}

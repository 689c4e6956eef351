package live

import (
	"context"
	"sync"
)

// Moves reports changes of a sandbox. Safe for concurrent use; the zero value is ready.
type Moves struct {
	mu   sync.Mutex
	next chan struct{} // nil if no call waits
}

// Next returns a channel that is closed when the state or the freshness changes from what they are now.
func (m *Moves) Next() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == nil {
		m.next = make(chan struct{})
	}
	return m.next
}

func (m *Moves) announce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next != nil {
		close(m.next)
		m.next = nil
	}
}

// Syncs is the sync of the checkout of a sandbox: at most one is under way. Safe for concurrent use; the zero value has none.
type Syncs struct {
	mu     sync.Mutex
	latest *syncing // nil is none
}

type syncing struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it has ended
	run    int
}

// Start runs a sync in a machine of the sandbox, by spawn, which reports whether it runs the function. One in an
// earlier machine is ended first. It does nothing if one is under way in this machine.
func (s *Syncs) Start(ctx context.Context, run int, spawn func(func()) bool, do func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.latest
	if former != nil && former.run == run && !former.ended() {
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	now := &syncing{cancel: cancel, done: make(chan struct{}), run: run}
	if !spawn(func() {
		defer cancel(nil)
		defer close(now.done)
		if former != nil {
			former.cancel(ErrInterrupted)
			<-former.done
		}
		do(ctx)
	}) {
		cancel(nil)
		return
	}
	s.latest = now
}

// Stop ends the sync that is under way and waits until it has ended, or ctx ends. A sync may wait for the life of its sandbox
// only as long as its context.
func (s *Syncs) Stop(ctx context.Context, cause error) error {
	s.mu.Lock()
	now := s.latest
	s.mu.Unlock()
	if now == nil {
		return nil
	}
	now.cancel(cause)
	select {
	case <-now.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// interrupt ends the sync that is under way, and does not wait for it. A sync is not an
// operation: what breaks off a stuck one must not end it.
func (s *Syncs) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest != nil {
		s.latest.cancel(ErrInterrupted)
	}
}

func (s *syncing) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

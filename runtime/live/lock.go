package live

import (
	"context"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
)

// holdTimeout is how long a call may hold a sandbox that says nothing else: it
// writes a row, or ends a machine.
const holdTimeout = 2 * background.CleanupTimeout

// Lock is a mutex whose waiters can give up, and which knows when its holder
// should have let go. Supervision looks for holders that are overdue.
type Lock struct {
	token chan struct{}

	mu  sync.Mutex
	due time.Time
}

// Lock takes the lock, or fails when the context ends first.
func (l *Lock) Lock(ctx context.Context) error {
	select {
	case l.token <- struct{}{}:
	default:
		select {
		case l.token <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = time.Now().Add(holdTimeout)
	return nil
}

func newLock() *Lock { return &Lock{token: make(chan struct{}, 1)} }

// LockWithin is lock that gives up after a bound.
func (l *Lock) LockWithin(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return l.Lock(ctx)
}

// Unlock gives the lock back.
func (l *Lock) Unlock() { <-l.token }

// Extend gives the holder more time than holdTimeout.
func (l *Lock) Extend(due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if due.After(l.due) {
		l.due = due
	}
}

// Held reports whether a call has the lock at this moment.
func (l *Lock) Held() bool { return len(l.token) > 0 }

// Busy reports whether a call has the lock and is within its time.
func (l *Lock) Busy(now time.Time) bool { return l.Held() && now.Before(l.Due()) }

// Overdue reports whether a call has the lock and should have let go.
func (l *Lock) Overdue(now time.Time) bool { return l.Held() && !now.Before(l.Due()) }

// Due is when the holder should have let go.
func (l *Lock) Due() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due
}

const (
	// settleFirst and settleMost are the pauses between two looks at a sandbox
	// whose change of state is retried in the background.
	settleFirst = 20 * time.Millisecond
	settleMost  = time.Second
)

// LockSettled takes the life of a sandbox when it is not on its way between two
// states. A change that could not be finished, or undone, at once is retried in
// the background; LockSettled waits for its outcome until ctx ends.
func (sb *Sandbox) LockSettled(ctx context.Context) error {
	for pause := settleFirst; ; pause = min(2*pause, settleMost) {
		if err := sb.Life.Lock(ctx); err != nil {
			return err
		}
		if !sb.State().Moving() {
			return nil
		}
		sb.Life.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

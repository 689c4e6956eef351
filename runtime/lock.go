package runtime

import (
	"context"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
)

// holdTimeout is how long a call may hold a sandbox that says nothing else: it
// writes a row, or ends a machine.
const holdTimeout = 2 * background.CleanupTimeout

// lock is a mutex whose waiters can give up, and which knows when its holder
// should have let go. Supervision looks for holders that are overdue.
type lock struct {
	token chan struct{}

	mu  sync.Mutex
	due time.Time
}

func newLock() *lock { return &lock{token: make(chan struct{}, 1)} }

// lock takes the lock, or fails when the context ends first.
func (l *lock) lock(ctx context.Context) error {
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

const (
	// settleFirst and settleMost are the pauses between two looks at a sandbox
	// whose change of state is retried in the background.
	settleFirst = 20 * time.Millisecond
	settleMost  = time.Second
)

// lockSettled takes the life of a sandbox when it is not on its way between two
// states. A change that could not be finished, or undone, at once is retried in
// the background, and what comes of it is waited for, as long as ctx.
func (sb *handle) lockSettled(ctx context.Context) error {
	for pause := settleFirst; ; pause = min(2*pause, settleMost) {
		if err := sb.life.lock(ctx); err != nil {
			return err
		}
		if !sb.state().Moving() {
			return nil
		}
		sb.life.unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lockWithin is lock that gives up after a bound.
func (l *lock) lockWithin(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return l.lock(ctx)
}

func (l *lock) unlock() { <-l.token }

// extend gives the holder more time than holdTimeout.
func (l *lock) extend(due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if due.After(l.due) {
		l.due = due
	}
}

// held reports whether a call has the lock at this moment.
func (l *lock) held() bool { return len(l.token) > 0 }

// busy reports whether a call has the lock and is within its time.
func (l *lock) busy(now time.Time) bool { return l.held() && now.Before(l.dueAt()) }

// overdue reports whether a call has the lock and should have let go.
func (l *lock) overdue(now time.Time) bool { return l.held() && !now.Before(l.dueAt()) }

func (l *lock) dueAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due
}

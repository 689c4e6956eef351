package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// The pauses between resumes of one sandbox by traffic, after failures in a row.
// Traffic needs no key: without a pause a client that knows a host name could have one
// restore after the other made for a sandbox that never answers. An explicit
// resume is tried at any time.
const (
	backoffFirst = 5 * time.Second
	backoffMost  = 5 * time.Minute
)

// backoff counts the failed resumes of a sandbox.
type backoff struct {
	failures int
	until    time.Time
}

// failed notes a failure.
func (b *backoff) failed(now time.Time) {
	pause := backoffMost
	if b.failures < 10 { // So that the shift does not overflow.
		pause = min(backoffFirst<<b.failures, backoffMost)
	}
	b.failures++
	b.until = now.Add(pause)
}

// resumeEnded notes how a resume ended. What the machine or another call refused
// says nothing about the sandbox.
func (sb *Sandbox) resumeEnded(err error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	switch {
	case err == nil:
		sb.backoff = backoff{}
	case errors.Is(err, sandbox.ErrCapacity), errors.Is(err, sandbox.ErrDiskFull), errors.Is(err, sandbox.ErrConflict),
		errors.Is(err, sandbox.ErrNotFound), errors.Is(err, sandbox.ErrUnavailable), errors.Is(err, context.Canceled):
	default:
		sb.backoff.failed(time.Now())
	}
}

// MayWake refuses a resume by traffic too soon after one that failed.
func (sb *Sandbox) MayWake(now time.Time) error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.resuming != nil || sb.row.State != sandbox.StatePaused || !now.Before(sb.backoff.until) {
		return nil
	}
	after := sb.backoff.until.Sub(now)
	return &sandbox.RetryError{After: after, Detail: fmt.Sprintf("its last resume failed, and traffic does not resume it again for %s",
		max(after.Round(time.Second), time.Second))}
}

package live

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	// recoveringPatience is how long a request waits for a sandbox that is being
	// recovered, so that clients see nothing of one that answers a bit late.
	recoveringPatience = 2 * time.Second
	// retryRecovering is when to ask again for one that is not recovered then.
	retryRecovering = 2 * time.Second
)

// SetRecovering says why the sandbox is not served, or, empty, that it is.
func (sb *Sandbox) SetRecovering(why string) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.recovering == "" && why != "" {
		sb.recovered = make(chan struct{})
	}
	if sb.recovering != "" && why == "" {
		close(sb.recovered)
	}
	sb.recovering = why
}

// Recovery returns the reason why the sandbox is not served, empty if it is, and a
// channel that is closed when it is.
func (sb *Sandbox) Recovery() (why string, recovered <-chan struct{}) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.recovering, sb.recovered
}

// Serving returns a sandbox that can be worked with: ErrSandboxNotFound, or a
// RetryError if it is being recovered and is not soon. A kill does without.
func (s *Set) Serving(ctx context.Context, id string) (*Sandbox, error) {
	sb, ok := s.Find(id)
	if !ok {
		return nil, s.Ended.Gone(id)
	}
	if sb.Elsewhere != nil {
		return nil, fmt.Errorf("sandbox %s: %w", id, fault.Classify(sb.Elsewhere))
	}
	why, recovered := sb.Recovery()
	if why == "" || sb.Condemned() {
		return sb, nil
	}
	patience := time.NewTimer(recoveringPatience)
	defer patience.Stop()
	select {
	case <-recovered:
		// It may have been quarantined: no call may reach it then, since a resume that
		// fails would end a machine that is left.
		if now, ok := s.Find(id); !ok || now != sb {
			return nil, s.Ended.Gone(id)
		}
		return sb, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-patience.C:
		return nil, &sandbox.RetryError{After: retryRecovering, Detail: "it is being recovered: " + why}
	}
}

// StateError says why a sandbox in a state cannot be resumed; nil if it runs.
func StateError(sb *Sandbox, s sandbox.State) error {
	switch s {
	case sandbox.StateRunning:
		return nil
	case sandbox.StateKilling, sandbox.StateKilled:
		return sb.Gone()
	}
	return fmt.Errorf("sandbox %s is %s: %w", sb.ID, s, sandbox.ErrConflict)
}

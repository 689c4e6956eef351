package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// setRecovering says why the sandbox is not served, or, empty, that it is.
func (sb *handle) setRecovering(why string) {
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

func (sb *handle) recoveringFor() string {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.recovering
}

const (
	// recoveringPatience is how long a request waits for a sandbox that is being
	// recovered, so that clients see nothing of one that answers a bit late.
	recoveringPatience = 2 * time.Second
	// retryRecovering is when to ask again for one that is not recovered then.
	retryRecovering = 2 * time.Second
)

// serving returns a sandbox that can be worked with: ErrSandboxNotFound, or a
// RetryError if it is being recovered and is not soon. A kill does without.
func (r *Runtime) serving(ctx context.Context, id string) (*handle, error) {
	sb, ok := r.find(id)
	if !ok {
		return nil, r.ends.gone(id)
	}
	if sb.elsewhere != nil {
		return nil, fmt.Errorf("sandbox %s: %w", id, fault.Classify(sb.elsewhere))
	}
	sb.mu.Lock()
	why, recovered := sb.recovering, sb.recovered
	sb.mu.Unlock()
	if why == "" || sb.condemned() {
		return sb, nil
	}
	patience := time.NewTimer(recoveringPatience)
	defer patience.Stop()
	select {
	case <-recovered:
		// It may have been quarantined: no call may reach it then, since a resume that
		// fails would end a machine that is left.
		if now, ok := r.find(id); !ok || now != sb {
			return nil, r.ends.gone(id)
		}
		return sb, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-patience.C:
		return nil, &sandbox.RetryError{After: retryRecovering, Detail: "it is being recovered: " + why}
	}
}

package runtime

import (
	"time"
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

// recovery returns why the sandbox is not served, empty if it is, and what is closed
// when it is.
func (sb *handle) recovery() (why string, recovered <-chan struct{}) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.recovering, sb.recovered
}

const (
	// recoveringPatience is how long a request waits for a sandbox that is being
	// recovered, so that clients see nothing of one that answers a bit late.
	recoveringPatience = 2 * time.Second
	// retryRecovering is when to ask again for one that is not recovered then.
	retryRecovering = 2 * time.Second
)

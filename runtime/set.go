package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/sandbox"
)

// set has the sandboxes of a runtime that are not killed, and remembers how others
// ended. Safe for concurrent use.
type set struct {
	mu     sync.Mutex
	closed bool
	byID   map[string]*handle

	roster *roster
	ended  ended
}

func newSet() *set { return &set{byID: map[string]*handle{}, roster: newRoster()} }

// find returns a sandbox.
func (s *set) find(id string) (*handle, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sb, ok := s.byID[id]
	return sb, ok
}

// all returns the sandboxes, in no order.
func (s *set) all() []*handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.byID))
}

// add makes a sandbox known, and gives it its place. It fails once the set is closed.
func (s *set) add(sb *handle, pl *admission.Place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("create sandbox: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	s.adopt(sb, pl)
	return nil
}

// know makes a sandbox of an earlier process known.
func (s *set) know(sb *handle, pl *admission.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(sb, pl)
}

// adopt adds a sandbox. The caller has s.mu.
func (s *set) adopt(sb *handle, pl *admission.Place) {
	sb.place = pl
	s.byID[sb.id] = sb
	sb.enroll(s.roster)
}

// remove makes a sandbox unknown. Callers that wait for its recovery learn that.
func (s *set) remove(sb *handle) {
	s.mu.Lock()
	delete(s.byID, sb.id)
	s.mu.Unlock()
	sb.leave()
	sb.setRecovering("")
}

// close lets add and ifOpen fail from now on, and returns the sandboxes, in no order.
func (s *set) close() []*handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return slices.Collect(maps.Values(s.byID))
}

// ifOpen calls f unless the set is closed, and reports whether it did. The set is not
// closed before f returns; f calls no method of the set.
func (s *set) ifOpen(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	f()
	return true
}

// serving returns a sandbox that can be worked with: ErrSandboxNotFound, or a
// RetryError if it is being recovered and is not soon. A kill does without.
func (s *set) serving(ctx context.Context, id string) (*handle, error) {
	sb, ok := s.find(id)
	if !ok {
		return nil, s.ended.gone(id)
	}
	why, recovered := sb.recovery()
	if why == "" || sb.condemned() {
		return sb, nil
	}
	patience := time.NewTimer(recoveringPatience)
	defer patience.Stop()
	select {
	case <-recovered:
		// It may have been quarantined: no call may reach it then, since a resume that
		// fails would end a machine that is left.
		if now, ok := s.find(id); !ok || now != sb {
			return nil, s.ended.gone(id)
		}
		return sb, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-patience.C:
		return nil, &sandbox.RetryError{After: retryRecovering, Detail: "it is being recovered: " + why}
	}
}

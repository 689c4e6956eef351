package live

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/sandbox"
)

// Set has the sandboxes of a runtime that are not killed, and remembers how others
// ended. Safe for concurrent use.
type Set struct {
	mu     sync.Mutex
	closed bool
	byID   map[string]*Sandbox

	// Roster and Ended are constant.
	Roster *Roster
	Ended  Ended
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{byID: map[string]*Sandbox{}, Roster: newRoster()} }

// Find returns a sandbox.
func (s *Set) Find(id string) (*Sandbox, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sb, ok := s.byID[id]
	return sb, ok
}

// All returns the sandboxes, in no order.
func (s *Set) All() []*Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.byID))
}

// Add makes a sandbox known, and gives it its place. It fails once the set is closed.
func (s *Set) Add(sb *Sandbox, pl *admission.Place) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("create sandbox: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	s.adopt(sb, pl)
	return nil
}

// Know makes a sandbox of an earlier process known.
func (s *Set) Know(sb *Sandbox, pl *admission.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(sb, pl)
}

// adopt adds a sandbox. The caller has s.mu.
func (s *Set) adopt(sb *Sandbox, pl *admission.Place) {
	sb.Place = pl
	s.byID[sb.ID] = sb
	sb.enroll(s.Roster)
}

// Remove makes a sandbox unknown. Callers that wait for its recovery learn that.
func (s *Set) Remove(sb *Sandbox) {
	s.mu.Lock()
	delete(s.byID, sb.ID)
	s.mu.Unlock()
	sb.leave()
	sb.SetRecovering("")
}

// Close lets Add and IfOpen fail from now on, and returns the sandboxes, in no order.
func (s *Set) Close() []*Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return slices.Collect(maps.Values(s.byID))
}

// IfOpen calls f unless the set is closed, and reports whether it did. The set is not
// closed before f returns; f calls no method of the set.
func (s *Set) IfOpen(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	f()
	return true
}

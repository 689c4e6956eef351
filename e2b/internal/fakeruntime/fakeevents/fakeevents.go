// Package fakeevents is a journal of events in memory, as a part of a fake runtime. Only tests of e2b and the packages
// below it may import it; it may import sandbox.
package fakeevents

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/sandbox"
)

// Journal has the events that a test makes. The zero value has none. Safe for concurrent use.
type Journal struct {
	mu     sync.Mutex
	err    error
	events []sandbox.Event
	next   chan struct{} // closed by the next Happen or Break; may be nil
}

// Happen adds an event, and returns it with its position and its id.
func (j *Journal) Happen(e sandbox.Event) sandbox.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Position = int64(len(j.events) + 1)
	e.ID = fmt.Sprintf("00000000-0000-8000-8000-%012d", e.Position)
	j.events = append(j.events, e)
	j.wake()
	return e
}

// Break makes every call return err, also those that wait; nil ends that.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
	j.wake()
}

// wake wakes the calls that wait. The caller holds mu.
func (j *Journal) wake() {
	if j.next != nil {
		close(j.next)
		j.next = nil
	}
}

// page returns the events that match, and a channel that is closed by the next change.
func (j *Journal) page(f sandbox.EventFilter, after int64) ([]sandbox.Event, <-chan struct{}, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []sandbox.Event
	for _, e := range j.events {
		if e.Position > after && (f.SandboxID == "" || f.SandboxID == e.SandboxID) && (f.Types == nil || slices.Contains(f.Types, e.Type)) {
			out = append(out, e)
		}
	}
	if !f.Ascending {
		slices.Reverse(out)
	}
	if j.next == nil {
		j.next = make(chan struct{})
	}
	out = out[min(f.Offset, len(out)):]
	return out[:min(f.Limit, len(out))], j.next, j.err
}

// Events implements e2b.RuntimeAdapter.
func (j *Journal) Events(_ context.Context, f sandbox.EventFilter) ([]sandbox.Event, error) {
	events, _, err := j.page(f, 0)
	return events, err
}

// EventPosition implements e2b.RuntimeAdapter.
func (j *Journal) EventPosition(_ context.Context, id string) (known string, position int64, err error) {
	const none = "00000000-0000-0000-0000-000000000000"
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.events); id == "" && n > 0 {
		return j.events[n-1].ID, int64(n), j.err
	} else if id == "" || id == none {
		return none, 0, j.err
	}
	for _, e := range j.events {
		if e.ID == id {
			return id, e.Position, j.err
		}
	}
	return "", 0, fmt.Errorf("%w: no event has the id %q", sandbox.ErrInvalid, id)
}

// AwaitEvents implements e2b.RuntimeAdapter.
func (j *Journal) AwaitEvents(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	f.Ascending, f.Offset = true, 0
	for {
		events, next, err := j.page(f, after)
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

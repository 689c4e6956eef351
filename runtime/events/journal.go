// Package events has the events of sandboxes: it decides which ones a change of a row is, hands them out in pages and as they come, and
// removes old ones. It writes no row: an event is written with the row that it is about. It may import sandbox,
// store, runtime/fault and runtime/live.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/journal"
)

const (
	// TrimInterval is how often old events are removed, if some were written meanwhile, and TrimRest how often if none were: they grow old.
	TrimInterval, TrimRest = time.Minute, time.Hour
	// Gather is how long AwaitEvents waits after a new event for more, so that many events are few reads.
	Gather = 50 * time.Millisecond
)

// Config holds the dependencies and settings of a Journal. All fields are required.
type Config struct {
	Store Store
	// Live are the sandboxes of the node, and Refused is what a network slot was refused, the latest first; none if that was all until
	// a time.
	Live    *live.Set
	Refused func(slotID string, since time.Time) ([]sandbox.Refusal, error)
	// Refusals receives after slots were refused something.
	Refusals <-chan struct{}
	// Silent: no change is an event.
	Silent bool
	Bounds journal.Bounds
	// Life ends when the daemon closes.
	Life context.Context
	Log  *slog.Logger
}

// Store is the table of events.
type Store interface {
	Page(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error)
	Newest(ctx context.Context) (id string, position int64, err error)
	Position(ctx context.Context, id string) (int64, error)
	Write(ctx context.Context, events []sandbox.Event) error
	Trim(ctx context.Context, now time.Time, b journal.Bounds) (removed int64, err error)
}

// Journal is the journal of a node. Safe for concurrent use.
type Journal struct {
	cfg  Config
	mu   sync.Mutex
	next chan struct{} // closed by the next event; nil if no call waits
	// written: events were written since the last Trim, which was at trimmed.
	written bool
	trimmed time.Time

	denials denials
	// created receives after a sandbox was created, whose slot may have been refused something before it had the slot: see reportDenied.
	created chan struct{}
}

// New returns a Journal.
func New(cfg Config) *Journal {
	return &Journal{cfg: cfg, denials: denials{reported: map[string]reported{}}, created: make(chan struct{}, 1)}
}

// Run does what the journal has to do now and then, by every, which calls a function at an interval, and begin, which runs one
// until Life ends.
func (j *Journal) Run(every func(time.Duration, func(context.Context)), begin func(func()) bool) {
	every(TrimInterval, j.Trim)
	if !j.cfg.Silent {
		begin(func() { j.reportDenied(j.cfg.Life) })
	}
}

// Change returns the events that a row is which is about to be written, where another was before. For a nil Journal there are none.
func (j *Journal) Change(was live.Written, row store.Sandbox) []sandbox.Event {
	if j == nil || j.cfg.Silent {
		return nil
	}
	return changes(was, row, time.Now())
}

// Checkpoint returns the events that a snapshot of a sandbox is which is about to be complete, as Change does.
func (j *Journal) Checkpoint(row store.Sandbox, snap store.Snapshot) []sandbox.Event {
	if j == nil || j.cfg.Silent {
		return nil
	}
	return checkpoint(row, snap, time.Now())
}

// Wrote wakes the calls that wait for events, after some were written. Of none it does nothing.
func (j *Journal) Wrote(events []sandbox.Event) {
	if len(events) == 0 {
		return
	}
	if slices.ContainsFunc(events, func(e sandbox.Event) bool { return e.Type == sandbox.EventCreated }) {
		select {
		case j.created <- struct{}{}:
		default: // It is to be received yet.
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written = true
	if j.next != nil {
		close(j.next)
		j.next = nil
	}
}

func (j *Journal) awaited() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.next == nil {
		j.next = make(chan struct{})
	}
	return j.next
}

// Events returns a page of events.
func (j *Journal) Events(ctx context.Context, f sandbox.EventFilter) ([]sandbox.Event, error) {
	events, err := j.cfg.Store.Page(ctx, f, 0)
	return events, fault.Classify(err)
}

// EventPosition returns where in the journal an event is, or was, by its id, and that id; those of the newest event if it is empty.
// sandbox.ErrInvalid if no event has it.
func (j *Journal) EventPosition(ctx context.Context, id string) (known string, position int64, err error) {
	if id == "" {
		known, position, err = j.cfg.Store.Newest(ctx)
		return known, position, fault.Classify(err)
	}
	position, err = j.cfg.Store.Position(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", 0, fmt.Errorf("%w: no event has the id %.64q", sandbox.ErrInvalid, id)
	}
	return id, position, fault.Classify(err)
}

// AwaitEvents returns the oldest events after a position that match, at most f.Limit. If there are none it waits for them until ctx
// ends, whose cause it returns then; sandbox.ErrUnavailable if the daemon closes.
func (j *Journal) AwaitEvents(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	f.Ascending, f.Offset = true, 0
	for {
		next := j.awaited() // Before the read, so that none comes between the two.
		events, read, err := j.after(ctx, f, after)
		if err != nil && ctx.Err() == nil {
			return nil, fault.Classify(err)
		}
		if len(events) > 0 {
			return events, nil
		}
		after = read
		if err := j.wait(ctx, next); err != nil {
			return nil, err
		}
		more := make(chan struct{})
		timer := time.AfterFunc(Gather, func() { close(more) })
		err = j.wait(ctx, more)
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// after returns the oldest events after a position that match, and the position up to which the journal has been read if none do. A read of some
// types of one sandbox goes through all events of the sandbox after the position: the index has no types.
func (j *Journal) after(ctx context.Context, f sandbox.EventFilter, position int64) (events []sandbox.Event, read int64, err error) {
	read = position
	if f.SandboxID != "" && len(f.Types) > 0 {
		_, newest, err := j.cfg.Store.Newest(ctx) // Before the page, which has all events up to this one.
		if err != nil {
			return nil, read, err
		}
		read = max(read, newest)
	}
	events, err = j.cfg.Store.Page(ctx, f, position)
	return events, read, err
}

func (j *Journal) wait(ctx context.Context, until <-chan struct{}) error {
	select {
	case <-until:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.cfg.Life.Done():
		return fmt.Errorf("%w: the server ends", sandbox.ErrUnavailable)
	}
}

// Trim removes old events, if there can be some.
func (j *Journal) Trim(ctx context.Context) {
	now := time.Now()
	j.mu.Lock()
	rest := !j.written && !j.trimmed.IsZero() && now.Sub(j.trimmed) < TrimRest
	if !rest {
		j.written, j.trimmed = false, now
	}
	j.mu.Unlock()
	if rest {
		return
	}
	if _, err := j.cfg.Store.Trim(ctx, now, j.cfg.Bounds); err != nil {
		j.mu.Lock()
		j.written = true // It tries again.
		j.mu.Unlock()
		if ctx.Err() == nil {
			j.cfg.Log.Warn("could not remove old events; will retry", "error", err)
		}
	}
}

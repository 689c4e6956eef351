package runtime

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// List returns the sandboxes that match, in order. It looks at those from the cursor
// on, until the page is full.
func (r *Runtime) List(_ context.Context, f sandbox.ListFilter) ([]sandbox.Sandbox, error) {
	var out []sandbox.Sandbox
	for _, e := range r.live.roster.page(f) {
		// Views have tokens and copies in them, and are of the page only.
		view := r.view(e.sb.snapshot())
		view.State, view.StartedAt = e.state, e.at.StartedAt
		out = append(out, view)
	}
	return out, nil
}

// CountRunning returns how many sandboxes a list of running ones has on all of its
// pages.
func (r *Runtime) CountRunning(_ context.Context, f sandbox.ListFilter) (n int, err error) {
	return r.live.roster.running(f), nil
}

// page returns the entries of a page.
func (r *roster) page(f sandbox.ListFilter) (page []listed) {
	states := f.States
	if len(states) == 0 {
		states = []sandbox.State{sandbox.StateRunning, sandbox.StatePaused}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.from(f) {
		if !slices.Contains(states, e.state.Shown()) || !e.matches(f) {
			continue
		}
		if page = append(page, *e); len(page) == f.Limit {
			break
		}
	}
	return page
}

// from iterates over the entries behind the cursor, in order. The caller has r.mu.
func (r *roster) from(f sandbox.ListFilter) iter.Seq[*listed] {
	begin, end := 0, len(r.order)
	if f.After != nil {
		at, found := r.find(*f.After)
		if found {
			at++
		}
		begin, end = at, at
	}
	return func(yield func(*listed) bool) {
		if f.Ascending {
			r.each(begin, len(r.order), yield)
			return
		}
		// The newest first, but of those that started at the same time the least id:
		// first what the cursor leaves of its own time.
		if f.After != nil {
			rest := end
			for rest < len(r.order) && r.order[rest].sameTime(*f.After) {
				rest++
			}
			if !r.each(end, rest, yield) {
				return
			}
			end, _ = r.find(sandbox.Cursor{StartedAt: f.After.StartedAt})
		}
		for end > 0 {
			first := end - 1
			for first > 0 && r.order[first-1].sameTime(r.order[end-1].at) {
				first--
			}
			if !r.each(first, end, yield) {
				return
			}
			end = first
		}
	}
}

// each yields the entries from begin to end, and reports whether more are wanted.
func (r *roster) each(begin, end int, yield func(*listed) bool) bool {
	for i := begin; i < end; i++ {
		if !yield(&r.order[i]) {
			return false
		}
	}
	return true
}

func (e *listed) sameTime(c sandbox.Cursor) bool {
	return e.at.StartedAt.UnixMicro() == c.StartedAt.UnixMicro()
}

// running counts the running sandboxes that match.
func (r *roster) running(f sandbox.ListFilter) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Template == "" && f.StartedAfter.IsZero() && len(f.Metadata) == 0 {
		return r.shown[sandbox.StateRunning]
	}
	for i := range r.order {
		if e := &r.order[i]; e.state.Shown() == sandbox.StateRunning && e.matches(f) {
			n++
		}
	}
	return n
}

func (e *listed) matches(f sandbox.ListFilter) bool {
	if f.Template != "" && f.Template != e.template && f.Template != e.alias {
		return false
	}
	if !f.StartedAfter.IsZero() && e.at.StartedAt.Truncate(time.Millisecond).Before(f.StartedAfter.Truncate(time.Millisecond)) {
		return false
	}
	for k, v := range f.Metadata {
		if have, ok := e.metadata[k]; !ok || have != v {
			return false
		}
	}
	return true
}

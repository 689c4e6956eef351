package live

import (
	"iter"
	"slices"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// Page returns the entries of a page.
func (r *Roster) Page(f sandbox.ListFilter) (page []Listed) {
	states := f.States
	if len(states) == 0 {
		states = []sandbox.State{sandbox.StateRunning, sandbox.StatePaused}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := range r.from(f) {
		if !slices.Contains(states, e.State.Shown()) || !e.matches(f) {
			continue
		}
		if page = append(page, *e); len(page) == f.Limit {
			break
		}
	}
	return page
}

// from iterates over the entries behind the cursor, in order. The caller has r.mu.
func (r *Roster) from(f sandbox.ListFilter) iter.Seq[*Listed] {
	begin, end := 0, len(r.order)
	if f.After != nil {
		at, found := r.find(*f.After)
		if found {
			at++
		}
		begin, end = at, at
	}
	return func(yield func(*Listed) bool) {
		if f.Ascending {
			r.each(begin, len(r.order), yield)
			return
		}
		// The newest first, but of those that started at the same time the least id:
		// first the remaining ones with the time of the cursor.
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
			for first > 0 && r.order[first-1].sameTime(r.order[end-1].At) {
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
func (r *Roster) each(begin, end int, yield func(*Listed) bool) bool {
	for i := begin; i < end; i++ {
		if !yield(&r.order[i]) {
			return false
		}
	}
	return true
}

func (e *Listed) sameTime(c sandbox.Cursor) bool {
	return e.At.StartedAt.UnixMicro() == c.StartedAt.UnixMicro()
}

// Running counts the running sandboxes that match.
func (r *Roster) Running(f sandbox.ListFilter) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Template == "" && f.StartedAfter.IsZero() && len(f.Metadata) == 0 {
		return r.shown[sandbox.StateRunning]
	}
	for i := range r.order {
		if e := &r.order[i]; e.State.Shown() == sandbox.StateRunning && e.matches(f) {
			n++
		}
	}
	return n
}

func (e *Listed) matches(f sandbox.ListFilter) bool {
	if f.Template != "" && f.Template != e.template && f.Template != e.alias {
		return false
	}
	if !f.StartedAfter.IsZero() && e.At.StartedAt.Truncate(time.Millisecond).Before(f.StartedAfter.Truncate(time.Millisecond)) {
		return false
	}
	for k, v := range f.Metadata {
		if have, ok := e.metadata[k]; !ok || have != v {
			return false
		}
	}
	return true
}

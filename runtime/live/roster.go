package live

import (
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// Roster is the sandboxes of a runtime in the order of their start, and how many
// there are of each state, so that a page or a figure costs the same however many
// there are. A sandbox that is on it updates it on each change: its lock is taken
// under that of a sandbox, and takes none itself. Safe for concurrent use.
type Roster struct {
	mu    sync.Mutex
	order []Listed // ascending
	// recorded are the states of the rows, shown those that lists tell.
	recorded, shown map[sandbox.State]int
	// moving are the deadlines of those in a transitional state.
	moving map[*Sandbox]time.Time
}

// Listed is a sandbox on the roster. Only its place and its states change; the other
// fields by which it is listed do not.
type Listed struct {
	Sandbox *Sandbox
	At      sandbox.Cursor
	// recorded is the state of its row, and state that which others see.
	recorded, State sandbox.State
	deadline        time.Time
	template, alias string
	metadata        map[string]string
}

func newRoster() *Roster {
	return &Roster{recorded: map[sandbox.State]int{}, shown: map[sandbox.State]int{}, moving: map[*Sandbox]time.Time{}}
}

// enroll puts a sandbox on the roster, until it leaves.
func (sb *Sandbox) enroll(r *Roster) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.roster = r
	sb.updateRoster()
}

// leave takes a sandbox off the roster.
func (sb *Sandbox) leave() {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.roster != nil {
		sb.roster.remove(sb.at)
	}
	sb.roster, sb.at = nil, nil
}

// updateRoster brings the roster up to date. The caller has sb.mu.
func (sb *Sandbox) updateRoster() {
	if sb.roster == nil {
		return
	}
	e := Listed{
		Sandbox: sb, At: sandbox.Cursor{StartedAt: sb.row.StartedAt, ID: sb.ID}, recorded: sb.row.State, State: sb.stateLocked(),
		deadline: sb.row.Deadline, template: sb.row.TemplateID, alias: sb.row.Alias, metadata: sb.row.Metadata,
	}
	sb.roster.put(sb.at, e)
	sb.at = &e.At
}

// find returns the index of the first entry that is not before a place, and whether
// it is at the place. The caller has r.mu.
func (r *Roster) find(at sandbox.Cursor) (int, bool) {
	return slices.BinarySearchFunc(r.order, at, func(e Listed, at sandbox.Cursor) int { return e.At.Compare(at) })
}

// put replaces the listed that is at a place, if there is one.
func (r *Roster) put(before *sandbox.Cursor, e Listed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(before)
	i, _ := r.find(e.At)
	r.order = slices.Insert(r.order, i, e)
	r.recorded[e.recorded]++
	r.shown[e.State.Shown()]++
	if e.recorded.Transitional() && e.Sandbox.Elsewhere == nil { // Else its own node looks after it.
		r.moving[e.Sandbox] = e.deadline
	}
}

func (r *Roster) remove(at *sandbox.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(at)
}

// take removes the listed at a place, if there is one. The caller has r.mu.
func (r *Roster) take(at *sandbox.Cursor) {
	if at == nil {
		return
	}
	i, ok := r.find(*at)
	if !ok {
		return
	}
	e := r.order[i]
	r.order = slices.Delete(r.order, i, i+1)
	decrease(r.recorded, e.recorded)
	decrease(r.shown, e.State.Shown())
	delete(r.moving, e.Sandbox)
}

// decrease takes one off a count, which ends at zero.
func decrease[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// Figures returns how many sandboxes there are of each recorded state, and how many
// are past the deadline of a transitional one.
func (r *Roster) Figures(now time.Time) (states map[sandbox.State]int, stuck int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	states = map[sandbox.State]int{}
	for state, n := range r.recorded {
		states[state] = n
	}
	for _, deadline := range r.moving {
		if !deadline.IsZero() && now.After(deadline) {
			stuck++
		}
	}
	return states, stuck
}

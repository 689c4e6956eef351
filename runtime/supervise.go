package runtime

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/hygiene"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/template"
)

// Supervision says how a Runtime looks after its sandboxes and its host while it
// runs. A loop whose interval is 0 or less does not run.
type Supervision struct {
	// Heartbeat is how often running sandboxes are asked for a sign of life, and
	// HeartbeatTimeout how long one may be silent before it is ended; 0 is
	// reconcile.DefaultHeartbeatTimeout.
	Heartbeat, HeartbeatTimeout time.Duration
	// Hygiene is how often leavings are looked for.
	Hygiene time.Duration
	// Host is how often the host is looked at for changes of what the base
	// template is made of.
	Host time.Duration
	// Pressure is how often Sample is called and acted upon; the loop does not
	// run without a Sample. What a Sample with an error does not know is zero.
	Pressure time.Duration
	Sample   func() (autoscale.Sample, error)
	// Limits are read with each Sample; nil is none.
	Limits func() ([]host.Limit, error)
}

// DefaultSupervision is for a daemon; it has no Sample.
func DefaultSupervision() Supervision {
	return Supervision{
		Heartbeat: 30 * time.Second, HeartbeatTimeout: reconcile.DefaultHeartbeatTimeout,
		Hygiene: hygiene.Interval, Host: template.HostInterval, Pressure: pressure.Interval,
	}
}

// SupervisionReport is what supervision did since Open. The caller may keep it.
type SupervisionReport struct {
	// Stuck is how many sandboxes the last look found past the deadline of a
	// transitional state.
	Stuck int
	// Silent is how many running sandboxes did not answer when last asked.
	Silent int
	// Settled counts what was done about stuck sandboxes, by reconcile.Action.
	Settled map[string]uint64
	// Freed counts the leavings that were freed, by hygiene.Kind, and
	// "snapshot".
	Freed map[string]uint64
	// Unrecovered is what Open found and could not make whole yet, and why, by the
	// id of a sandbox or a machine, or "network". What recovers later is taken off.
	Unrecovered map[string]string
}

// supervisor is what the loops know from one tick to the next.
type supervisor struct {
	// One tick of a kind at a time; each guards what only its ticks use.
	beating, cleaning, feeling sync.Mutex
	orphans                    map[hygiene.Object]time.Time // when each was first seen
	policy                     pressure.Node
	unread                     string // the last failure to sample
	rounds                     rounds

	mu sync.Mutex // guards what follows
	// unrecovered is the report's; see note.
	unrecovered map[string]string
	report      SupervisionReport
	pressure    PressureReport
	lacks       lacks
}

// supervise starts the loops, which Close ends.
func (r *Runtime) supervise() {
	s := r.cfg.Supervision
	r.every(s.Heartbeat, r.beat)
	r.every(s.Hygiene, r.clean)
	r.every(s.Host, r.templates.Refresh)
	if s.Sample != nil {
		r.every(s.Pressure, func(context.Context) { r.feel(time.Now()) })
	}
}

// every runs tick in the background until the runtime closes. Ticks report
// their failures themselves, so that none ends the loop; one that takes longer
// than the interval delays the next.
func (r *Runtime) every(interval time.Duration, tick func(context.Context)) {
	if interval <= 0 {
		return
	}
	r.background.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-r.life.Done():
				return
			case <-ticker.C:
				tick(r.life)
			}
		}
	})
}

// inUse returns the ids that are owned, and those of the sandboxes and the warm
// machines, with their slots and their claims.
func (r *Runtime) inUse() map[string]bool {
	used := map[string]bool{}
	r.held.Add(used)
	r.orphans.Machines(used)
	r.pool.Owned(used)
	for _, sb := range r.all() {
		row := sb.snapshot()
		used[row.ID], used[row.SlotID], used[row.SnapshotID] = true, true, true
	}
	delete(used, "")
	return used
}

// Supervision reports what the supervision found and did.
func (r *Runtime) Supervision() SupervisionReport {
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	out := r.sup.report
	out.Settled, out.Freed, out.Unrecovered = maps.Clone(out.Settled), maps.Clone(out.Freed), maps.Clone(r.sup.unrecovered)
	return out
}

func (r *Runtime) countSettled(a reconcile.Action) {
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	if r.sup.report.Settled == nil {
		r.sup.report.Settled = map[string]uint64{}
	}
	r.sup.report.Settled[string(a)]++
}

func (r *Runtime) countFreed(what string) {
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	if r.sup.report.Freed == nil {
		r.sup.report.Freed = map[string]uint64{}
	}
	r.sup.report.Freed[what]++
}

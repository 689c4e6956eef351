package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/hygiene"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/pager"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/runtime/template"
)

// Supervision says how a Runtime looks after its sandboxes and its host while it
// runs. A loop whose interval is 0 or less does not run.
type Supervision struct {
	// Heartbeat is how often running sandboxes are asked for a sign of life, and
	// HeartbeatTimeout how long one may be silent before it is ended; 0 is
	// reconcile.DefaultHeartbeatTimeout.
	Heartbeat, HeartbeatTimeout time.Duration
	// Hygiene is how often orphans are looked for.
	Hygiene time.Duration
	// Host is the interval of checks whether the files of the host changed that the base
	// template is made of.
	Host time.Duration
	// Pressure is the interval at which Sample is called and acted upon; the loop does
	// not run without a Sample. Unknown values of a Sample with an error are zero.
	Pressure time.Duration
	Sample   func() (autoscale.Sample, error)
	// Limits are read with each Sample; nil is none.
	Limits func() ([]host.Limit, error)
	// PageOut is how long a sandbox is idle before it is paged out to the swap of the
	// host, which Swap reports; 0 or less, or without Swap, none is. See pager.Look.
	PageOut time.Duration
	Swap    func() (host.Swap, error)
}

// DefaultSupervision is for a daemon; it has no Sample.
func DefaultSupervision() Supervision {
	return Supervision{
		Heartbeat: 30 * time.Second, HeartbeatTimeout: reconcile.DefaultHeartbeatTimeout,
		Hygiene: hygiene.Interval, Host: template.HostInterval, Pressure: pressure.Interval, PageOut: pageout.DefaultAfter,
	}
}

// SupervisionReport lists the actions of supervision since Open. The caller may keep it.
type SupervisionReport struct {
	// Stuck is how many sandboxes the last look found past the deadline of a
	// transitional state.
	Stuck int
	// Silent is how many running sandboxes did not answer when last asked.
	Silent int
	// Settled counts the actions on stuck sandboxes, by reconcile.Action.
	Settled map[string]uint64
	// Freed counts the orphans that were freed, by hygiene.Kind, and
	// "snapshot".
	Freed map[string]uint64
	// Unrecovered has the reasons why objects that Open found are not recovered yet, by
	// the id of a sandbox or a machine, or "network". Recovered ones are removed.
	Unrecovered map[string]string
}

// startLoops starts the loops of supervision, which Close ends.
func startLoops(r *Runtime) {
	s := r.cfg.Supervision
	r.background.Every(s.Heartbeat, r.watcher.Beat)
	r.background.Every(s.Hygiene, r.cleaner.Clean)
	r.background.Every(s.Host, r.templates.Refresh)
	r.background.Every(pager.Interval, func(ctx context.Context) { r.pager.Look(ctx, false) })
	r.Journal.Run(r.background.Every, r.background.Go)
	if s.Sample != nil {
		r.background.Every(s.Pressure, func(context.Context) { r.host.Look(time.Now()) })
	}
}

// newWatcher returns the watcher that asks sandboxes for heartbeats.
func newWatcher(r *parts) *supervise.Watcher {
	return supervise.NewWatcher(supervise.WatcherConfig{
		Interval: r.cfg.Supervision.Heartbeat, Timeout: r.cfg.Supervision.HeartbeatTimeout, Sandboxes: r.settler.Watched(),
		Agent: r.machines.Agent, PagedOut: r.pager.PagedOut, Network: r.cfg.Network, Host: r.host, Background: r.background, Log: r.log,
	})
}

// newCleaner returns the cleaner that frees objects that operations left behind.
func newCleaner(r *parts) *supervise.Cleaner {
	return supervise.NewCleaner(supervise.CleanerConfig{
		Instance: r.cfg.Instance, Driver: r.cfg.Driver, Network: r.cfg.Network, Machines: r.machines, Claims: r.claims,
		Store: supervise.CleanerStore{Sandboxes: r.cfg.Store.Sandboxes, Checkpoint: r.cfg.Store.Checkpoint}, LockTemplates: r.cfg.LockTemplates, InUse: func() map[string]bool { return inUse(r) }, Freed: r.tally.freed, Life: r.life, Log: r.log,
	})
}

// inUse returns the ids that are owned, and those of the sandboxes and the warm
// machines, with their slots and their claims.
func inUse(r *parts) map[string]bool {
	used := map[string]bool{}
	r.held.Add(used)
	r.orphans.Machines(used)
	r.pool.Owned(used)
	for _, sb := range r.live.All() {
		row := sb.Row()
		used[row.ID], used[row.SlotID], used[row.SnapshotID] = true, true, true
	}
	delete(used, "")
	return used
}

// Supervision reports the findings and actions of the supervision.
func (r *reads) Supervision() SupervisionReport {
	w := r.watcher.Report()
	_, freed := r.tally.counts()
	return SupervisionReport{
		Stuck: w.Stuck, Silent: w.Silent, Settled: w.Settled,
		Freed: freed, Unrecovered: r.notes.All(),
	}
}

package runtime

import (
	"context"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/runtime/usage"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// newMeter returns the meter of the sandboxes; nil if the driver does not count.
func newMeter(r *parts) *usage.Meter {
	driver, ok := r.cfg.Driver.(vm.Statser)
	if !ok {
		return nil
	}
	return usage.New(usage.Config{
		Driver: driver, Agent: r.machines.Agent, Measured: r.pager.Observe,
		AtOnce: func(n int) int { return supervise.AtOnce(n, usage.Interval) },
		Sandboxes: func() []usage.Sandbox {
			all := r.live.All()
			out := make([]usage.Sandbox, len(all))
			for i, sb := range all {
				out[i] = measured(r, sb)
			}
			return out
		},
		Sandbox: func(id string) (usage.Sandbox, bool) {
			sb, ok := r.live.Find(id)
			if !ok {
				return usage.Sandbox{}, false
			}
			return measured(r, sb), true
		},
	})
}

// measured is the state of a sandbox for the meter.
func measured(r *parts, sb *live.Sandbox) usage.Sandbox {
	row, run, _ := sb.Look()
	out := usage.Sandbox{
		ID: sb.ID, Size: sandbox.Size{VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB},
		Run: run, Running: row.State == sandbox.StateRunning && sb.Elsewhere == nil, Busy: sb.Life.Busy(time.Now()) || r.pager.PagedOut(sb.ID),
	}
	if row.Secure {
		out.Token = r.tokens.Envd(sb.ID)
	}
	return out
}

// Metrics returns the measurements of a sandbox in [start, end], oldest first; a
// zero time does not bound them; see usage.Meter. Those from before the daemon
// started are lost. sandbox.ErrNotFound.
func (r *reads) Metrics(_ context.Context, id string, start, end time.Time) ([]sandbox.Metric, error) {
	sb, ok := r.live.Find(id)
	if !ok {
		return nil, r.live.Ended.Gone(id)
	}
	if !sb.State().Visible() {
		return nil, sb.Gone()
	}
	if r.meter == nil {
		return nil, nil
	}
	return r.meter.Metrics(measured(&r.parts, sb), start, end), nil
}

// NewestMetric returns the last of Metrics, and whether there is one.
func (r *reads) NewestMetric(_ context.Context, id string) (sandbox.Metric, bool, error) {
	sb, ok := r.live.Find(id)
	if !ok || !sb.State().Visible() {
		return sandbox.Metric{}, false, fault.NotFound(id)
	}
	if r.meter == nil {
		return sandbox.Metric{}, false, nil
	}
	m, ok := r.meter.Newest(measured(&r.parts, sb))
	return m, ok, nil
}

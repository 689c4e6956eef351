package runtime

import (
	"maps"
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/pressure"
)

// PressureReport is how the machine is doing and what is done about it. The
// caller may keep it.
type PressureReport struct {
	State autoscale.State
	// Decisions are in force, in order; nil before the first look.
	Decisions []autoscale.Decision
	// Refusing is why no new work is taken; empty: it is.
	Refusing string
	// Sample is the latest.
	Sample autoscale.Sample
	// Entered counts how often each state was entered.
	Entered map[autoscale.State]uint64
}

// newPressure returns the policy for this runtime.
func newPressure(cfg Config) pressure.Node {
	return pressure.New(pressure.Config{
		RestoreFloor: cfg.Floors.Restore, Interval: cfg.Supervision.Pressure, Launches: cfg.Launches,
		EntryMemoryBytes: int64(cfg.Size.MemoryMiB) << 20,
	})
}

// feel takes a sample of the machine and acts on it. Nothing that it does ends
// active work.
func (r *Runtime) feel(now time.Time) {
	r.sup.feeling.Lock()
	defer r.sup.feeling.Unlock()
	sample, err := r.cfg.Supervision.Sample()
	r.tellUnread(err)
	policy := &r.sup.policy
	out := policy.Step(now, sample, r.lookAtLimits(sample, policy.Thresholds()), r.pool.Stats(now))
	r.sup.mu.Lock()
	report := &r.sup.pressure
	report.State, report.Decisions, report.Refusing, report.Sample = out.State, out.Decisions, out.Refusing, sample
	if out.State != out.Was {
		if report.Entered == nil {
			report.Entered = map[autoscale.State]uint64{}
		}
		report.Entered[out.State]++
	}
	r.sup.mu.Unlock()

	if out.State != out.Was {
		r.log.Info("the pressure on this machine changed", "from", out.Was, "to", out.State, "decisions", out.Decisions,
			"memory MiB", sample.MemoryAvailable>>20, "disk MiB", sample.DiskFree>>20,
			"cpu", sample.CPU.Some, "memory", sample.Memory.Some, "io", sample.IO.Some)
	}
	r.pool.SetLimits(out.Pool)
	if out.Changed {
		r.admission.Queue.SetRefuse(out.Refusing)
		if out.Refusing != "" {
			r.log.Warn("new work is refused", "reason", out.Refusing)
		} else {
			r.log.Info("new work is taken again")
		}
	}
}

// tellUnread reports a failure to sample once, until it is another.
func (r *Runtime) tellUnread(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.sup.unread {
		r.log.Warn("not all of the pressure on this machine is known", "error", err)
	}
	r.sup.unread = text
}

// Pressure reports the last look at the machine.
func (r *Runtime) Pressure() PressureReport {
	r.sup.mu.Lock()
	defer r.sup.mu.Unlock()
	out := r.sup.pressure
	out.Decisions, out.Entered = slices.Clone(out.Decisions), maps.Clone(out.Entered)
	return out
}

package runtime

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
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

// newScaler returns the policy for this runtime. The processor and the disk's
// speed alone never stop new work; memory and disk space do, and not before the
// warm pool was given up for it.
//
// The reserves are less than autoscale's on small machines: a tenth of the
// memory, since the host's own programs are in what is used already, and of the
// disk what a restore needs, since each one checks that as well.
func newScaler(cfg Config) autoscale.Scaler {
	c := autoscale.Default()
	c.ReserveMemory.AtMostPercent = 10
	c.ReserveDisk = autoscale.Reserve{Bytes: cfg.Floors.Restore, AtMostPercent: 100}
	// A refill does what a create would otherwise do later, and one at a time: to
	// stop it because processors are busy would only make the creates slower.
	c.CPU = autoscale.Thresholds{}
	// The pressures of the kernel are averages over ten seconds.
	c.Hold = 15 * time.Second
	c.Escalate = cfg.Supervision.Pressure / 2
	return autoscale.New(c)
}

// feel takes a sample of the machine and acts on it. Nothing that it does ends
// active work.
func (r *Runtime) feel(now time.Time) {
	r.sup.feeling.Lock()
	defer r.sup.feeling.Unlock()
	sample, err := r.cfg.Supervision.Sample()
	r.tellUnread(err)
	scaler := &r.sup.scaler
	was := scaler.State()
	state, decisions := scaler.Step(now, attribute(sample, scaler.Config))

	refusing := r.lookAtLimits(sample, scaler.Config)
	if slices.Contains(decisions, autoscale.RefuseNewWork) {
		refusing = scarce(sample, scaler.Config)
	}
	r.sup.mu.Lock()
	report := &r.sup.pressure
	if refusing != "" && report.Refusing != "" {
		refusing = report.Refusing // What began it, until it ends.
	}
	changed := report.Refusing != refusing
	report.State, report.Decisions, report.Refusing, report.Sample = state, decisions, refusing, sample
	if state != was {
		if report.Entered == nil {
			report.Entered = map[autoscale.State]uint64{}
		}
		report.Entered[state]++
	}
	r.sup.mu.Unlock()

	if state != was {
		r.log.Info("the pressure on this machine changed", "from", was, "to", state, "decisions", decisions,
			"memory MiB", sample.MemoryAvailable>>20, "disk MiB", sample.DiskFree>>20,
			"cpu", sample.CPU.Some, "memory", sample.Memory.Some, "io", sample.IO.Some)
	}
	r.limitPool(decisions, scaler.Config.Spare(sample), now)
	if changed {
		r.admission.Queue.SetRefuse(refusing)
		if refusing != "" {
			r.log.Warn("new work is refused", "reason", refusing)
		} else {
			r.log.Info("new work is taken again")
		}
	}
}

// limitPool carries out what concerns the warm pool: stop_refill, evict_warm,
// destroy_prepared, and the growth. Of the other measures, stop_sidecars has no
// object here; trim_idle_disk is not done, since no driver has a call for it
// yet; and suspend_idle is left out because nothing tells
// an idle sandbox from one that computes without a connection.
func (r *Runtime) limitPool(decisions []autoscale.Decision, spare capacity.Budget, now time.Time) {
	// An entry may come to use all that it was promised; its disk is sparse.
	warm := autoscale.Warm{InFlight: r.cfg.Launches, PerEntry: capacity.Budget{MemoryBytes: int64(r.cfg.Size.MemoryMiB) << 20}}
	for _, s := range r.pool.Stats(now) {
		warm.Configured += s.Target.Ready
		warm.Ready += s.Ready + s.InFlight
		warm.Prepared += s.Prepared
	}
	limits := autoscale.Limits(decisions, spare, warm)
	if limits.Ready >= warm.Configured && !slices.Contains(decisions, autoscale.EvictWarm) {
		limits.Ready = math.MaxInt // There is room for a template that comes next, too.
	}
	r.pool.SetLimits(limits)
}

// attribute counts the memory stalls of a machine that has memory left as load:
// they are those of sandboxes at their own limits, and to refuse the others
// would not help them.
func attribute(s autoscale.Sample, c autoscale.Config) autoscale.Sample {
	if s.MemoryTotal > 0 && s.MemoryAvailable >= 2*c.ReserveMemory.Of(s.MemoryTotal) {
		s.IO.Some, s.IO.Full = max(s.IO.Some, s.Memory.Some), max(s.IO.Full, s.Memory.Full)
		s.Memory = autoscale.Pressure{}
	}
	return s
}

// scarce says what the machine is short of.
func scarce(s autoscale.Sample, c autoscale.Config) string {
	switch memory, disk := c.ReserveMemory.Of(s.MemoryTotal), c.ReserveDisk.Of(s.DiskTotal); {
	case s.MemoryTotal > 0 && s.MemoryAvailable < memory:
		return fmt.Sprintf("%d MiB of memory are available, and %d MiB are kept for the host", s.MemoryAvailable>>20, memory>>20)
	case s.DiskTotal > 0 && s.DiskFree < disk:
		return fmt.Sprintf("%d MiB of disk are free, and %d MiB are kept for the host", s.DiskFree>>20, disk>>20)
	}
	return fmt.Sprintf("%.0f %% of the time work waits for memory", s.Memory.Some)
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

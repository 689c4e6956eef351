// Package supervise watches the host and the sandboxes on it, in the background:
// pressure, and resources that the daemon lacks for its own work. It may import
// host, policy and the parts of the runtime below it.
package supervise

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/runtime/pool"
)

// PressureReport is the pressure on the machine and the measures against it. The
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

// HostConfig holds the dependencies and settings of a Host.
type HostConfig struct {
	// Sample is called at each look. Unknown values of a sample with an error are zero.
	Sample func() (autoscale.Sample, error)
	// Limits are read with each sample; nil is none.
	Limits func() ([]host.Limit, error)
	// Pressure configures the policy.
	Pressure pressure.Config
	Pool     *pool.Pool
	Queue    *capacity.Queue
	// PageOut pages out the sandboxes that are idle, in the background.
	PageOut func()
	// Network may be a SelfRepairer.
	Network any
	Log     *slog.Logger
}

// Host watches the machine that the daemon is on. Safe for concurrent use.
type Host struct {
	cfg HostConfig

	looking sync.Mutex // one look at a time; guards policy and unread
	policy  pressure.Node
	unread  string // the last failure to sample

	mu     sync.Mutex // guards what follows
	report PressureReport
	lacks  lacks
	deaf   string // why silence does not count
}

// NewHost returns a Host that has not looked yet.
func NewHost(cfg HostConfig) *Host { return &Host{cfg: cfg, policy: pressure.New(cfg.Pressure)} }

// Look takes a sample of the machine and acts on it. Nothing that it does ends
// active work.
func (h *Host) Look(now time.Time) {
	h.looking.Lock()
	defer h.looking.Unlock()
	sample, err := h.cfg.Sample()
	h.reportUnread(err)
	policy := &h.policy
	out := policy.Step(now, sample, h.checkLimits(sample, policy.Thresholds()), h.cfg.Pool.Stats(now))
	h.mu.Lock()
	report := &h.report
	report.State, report.Decisions, report.Refusing, report.Sample = out.State, out.Decisions, out.Refusing, sample
	if out.State != out.Was {
		if report.Entered == nil {
			report.Entered = map[autoscale.State]uint64{}
		}
		report.Entered[out.State]++
	}
	h.mu.Unlock()

	if out.State != out.Was {
		h.cfg.Log.Info("host pressure changed", "from", out.Was, "to", out.State, "decisions", out.Decisions,
			"memory_available_mib", sample.MemoryAvailable>>20, "disk_free_mib", sample.DiskFree>>20,
			"cpu", sample.CPU.Some, "memory", sample.Memory.Some, "io", sample.IO.Some)
	}
	h.cfg.Pool.SetLimits(out.Pool)
	if out.PageOut {
		h.cfg.PageOut()
	}
	if out.Changed {
		h.cfg.Queue.SetRefuse(out.Refusing)
		if out.Refusing != "" {
			h.cfg.Log.Warn("refusing new work", "reason", out.Refusing)
		} else {
			h.cfg.Log.Info("accepting new work again")
		}
	}
}

// reportUnread reports a failure to sample once, until it is another.
func (h *Host) reportUnread(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != h.unread {
		h.cfg.Log.Warn("could not read all host pressure", "error", err)
	}
	h.unread = text
}

// Pressure reports the last look at the machine.
func (h *Host) Pressure() PressureReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.report
	out.Decisions, out.Entered = slices.Clone(out.Decisions), maps.Clone(out.Entered)
	return out
}

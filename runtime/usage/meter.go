package usage

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Sandbox is the state of a sandbox that a Meter knows.
type Sandbox struct {
	ID   string
	Size sandbox.Size
	// Run counts the machines that it had.
	Run int
	// Running: it has one now. Busy: its guest is not to be asked. A lifecycle call works
	// on it, so that it may be frozen; or it is paged out, and asking would bring it back.
	Running, Busy bool
	// Token is the one that its agent requires of clients; it may be empty.
	Token string
}

// Config holds the dependencies and settings of a Meter. All fields are required.
type Config struct {
	Driver vm.Statser
	// Sandboxes returns those that are not killed, in any order, and Sandbox one of
	// them.
	Sandboxes func() []Sandbox
	Sandbox   func(id string) (Sandbox, bool)
	// Measured receives each measurement of a machine, by sandbox and Sandbox.Run.
	Measured func(id string, run int, s vm.Stats)
	// Agent opens a connection to a guest's agent.
	Agent func(id string) func(context.Context) (net.Conn, error)
	// AtOnce is how many of so many sandboxes are measured at the same time.
	AtOnce func(sandboxes int) int
}

// Meter measures sandboxes. Safe for concurrent use.
type Meter struct {
	cfg Config

	mu  sync.Mutex
	all map[string]*usage // by sandbox
}

// New returns a Meter that has measured nothing.
func New(cfg Config) *Meter { return &Meter{cfg: cfg, all: map[string]*usage{}} }

// Run measures the running sandboxes until ctx ends: one loop for all of them.
func (m *Meter) Run(ctx context.Context) {
	tick := time.NewTicker(Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.measureAll(ctx)
		}
	}
}

func (m *Meter) measureAll(ctx context.Context) {
	all := m.cfg.Sandboxes()
	var group errgroup.Group
	group.SetLimit(m.cfg.AtOnce(len(all)))
	for _, sb := range m.due(all, time.Now()) {
		group.Go(func() error { m.measure(ctx, sb); return nil })
	}
	_ = group.Wait()
}

// due returns the sandboxes that are to be measured now, and forgets those that
// are gone.
func (m *Meter) due(all []Sandbox, now time.Time) (due []Sandbox) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := make(map[string]*usage, len(all))
	for _, sb := range all {
		u := m.all[sb.ID]
		if u == nil {
			u = &usage{}
		}
		known[sb.ID] = u
		if sb.Running && u.due(sb.Run, now) {
			due = append(due, sb)
		}
	}
	m.all = known
	return due
}

func (m *Meter) measure(ctx context.Context, sb Sandbox) {
	stats, err := m.cfg.Driver.Stats(ctx, sb.ID)
	if err != nil {
		return // It is about to end, or its next measurement comes.
	}
	m.cfg.Measured(sb.ID, sb.Run, stats)
	m.mu.Lock()
	u := m.all[sb.ID]
	asks := u != nil && u.asks(sb.Run, stats)
	m.mu.Unlock()
	now, ok := m.cfg.Sandbox(sb.ID)
	var guest *envd.Metrics
	if asks = asks && ok && !now.Busy; asks { // It may be frozen.
		guest = m.ask(ctx, sb)
	}
	now, ok = m.cfg.Sandbox(sb.ID)
	if u == nil || !ok || now.Run != sb.Run || !now.Running {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if asks {
		u.answered(sb.Run, stats, guest)
	}
	u.add(sb.Run, stats, sb.Size.VCPUs)
}

// ask asks a guest for its resource use; nil if it does not answer.
func (m *Meter) ask(ctx context.Context, sb Sandbox) *envd.Metrics {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	got, err := envd.ReadMetrics(ctx, m.cfg.Agent(sb.ID), sb.Token)
	if err != nil {
		return nil
	}
	return &got
}

// Metrics returns the measurements of a sandbox in [start, end], oldest first; a
// zero time does not bound them. There is one every ten seconds that it ran, for an hour.
// Memory and disk are counted by the guest. For a guest that does not answer the host
// counts the memory, and the disk is zero.
func (m *Meter) Metrics(sb Sandbox, start, end time.Time) (out []sandbox.Metric) {
	for _, r := range m.readings(sb.ID, false) {
		at := time.UnixMilli(r.at)
		if at.Before(start) || !end.IsZero() && at.After(end) {
			continue
		}
		out = append(out, r.metric(sb.Size))
	}
	return out
}

// Newest returns the last of Metrics, and whether there is one.
func (m *Meter) Newest(sb Sandbox) (sandbox.Metric, bool) {
	r := m.readings(sb.ID, true)
	if len(r) == 0 {
		return sandbox.Metric{}, false
	}
	return r[0].metric(sb.Size), true
}

// readings returns a copy of the measurements of a sandbox, or of the last one.
func (m *Meter) readings(id string, last bool) []reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.all[id]
	if u == nil {
		return nil
	}
	u.forget(time.Now())
	if last && len(u.readings) > 0 {
		return []reading{u.readings[len(u.readings)-1]}
	}
	return slices.Clone(u.readings)
}

// metric is a reading for clients. A guest may claim anything: a metric is never
// more than there is.
func (r reading) metric(size sandbox.Size) sandbox.Metric {
	memory, disk := int64(size.MemoryMiB)<<20, int64(size.DiskMiB)<<20
	within := func(kib uint32, total int64) int64 {
		if total <= 0 {
			return int64(kib) << 10
		}
		return min(int64(kib)<<10, total)
	}
	return sandbox.Metric{
		Time: time.UnixMilli(r.at), CPUUsedPct: float64(r.cpuPct), CPUCount: size.VCPUs,
		MemUsed: within(r.memory, memory), MemTotal: memory, MemCache: within(r.cache, memory),
		DiskUsed: within(r.disk, disk), DiskTotal: disk,
	}
}

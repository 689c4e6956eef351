package runtime

import (
	"context"
	"slices"
	"time"

	"github.com/rundlet/rundlet/vm"
)

const (
	// measureTick is how often running sandboxes are measured: a client sees its
	// sandbox's first measurement after two ticks at most.
	measureTick = 10 * time.Second
	// measureKept is how long measurements are kept.
	measureKept = time.Hour
)

// usage is what a sandbox used in the past. It takes 24 bytes for each
// measurement: there are many sandboxes.
type usage struct {
	readings []reading // oldest first
	// run is the machine that was looked at last; at and cpu what was seen.
	run int
	at  time.Time
	cpu time.Duration
	// limit of the memory.
	limit int64
}

type reading struct {
	at     int64 // Unix time in milliseconds
	memory int64
	cpuPct float32
}

// add takes a look at a machine. The first one shows only where its clock of
// processor time stands: that has run before the machine was this sandbox's.
func (u *usage) add(run int, s vm.Stats, vcpus int) {
	passed, used, first := s.Time.Sub(u.at), s.CPUTime-u.cpu, u.run != run
	u.run, u.at, u.cpu, u.limit = run, s.Time, s.CPUTime, s.MemoryLimitBytes
	if first || passed <= 0 {
		return
	}
	u.forget(s.Time)
	u.readings = append(u.readings, reading{
		at: s.Time.UnixMilli(), memory: s.MemoryBytes, cpuPct: float32(100 * used.Seconds() / passed.Seconds() / float64(max(vcpus, 1))),
	})
}

// forget drops what is too old.
func (u *usage) forget(now time.Time) {
	since := now.Add(-measureKept).UnixMilli()
	old := 0
	for old < len(u.readings) && u.readings[old].at < since {
		old++
	}
	u.readings = slices.Delete(u.readings, 0, old)
}

// lookAtUsage measures the running sandboxes until the runtime closes: one loop
// for all of them, which asks the host only, so that an idle guest stays idle.
func (r *Runtime) lookAtUsage(driver vm.Statser) {
	tick := time.NewTicker(measureTick)
	defer tick.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case <-tick.C:
			r.measure(driver)
		}
	}
}

func (r *Runtime) measure(driver vm.Statser) {
	for _, sb := range r.all() {
		sb.mu.Lock()
		run, running := sb.run, State(sb.row.State) == StateRunning
		sb.mu.Unlock()
		if !running {
			continue
		}
		stats, err := driver.Stats(r.life, sb.id)
		if err != nil {
			continue // It is about to end, or its next measurement comes.
		}
		sb.mu.Lock()
		if sb.run == run && State(sb.row.State) == StateRunning {
			sb.usage.add(run, stats, sb.row.VCPUs)
		}
		sb.mu.Unlock()
	}
}

// Metrics returns the measurements of a sandbox in [start, end], oldest first; a
// zero bound is none. There is one every ten seconds that it ran, for an hour,
// and none from before the daemon started. What a driver does not measure (the
// page cache, the disk in use) is zero. ErrSandboxNotFound.
func (r *Runtime) Metrics(_ context.Context, id string, start, end time.Time) ([]Metric, error) {
	sb, ok := r.find(id)
	if !ok || !visible(sb.state()) {
		return nil, notFound(id)
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.usage.forget(time.Now())
	var out []Metric
	for _, m := range sb.usage.readings {
		at := time.UnixMilli(m.at)
		if at.Before(start) || !end.IsZero() && at.After(end) {
			continue
		}
		out = append(out, sb.metric(m))
	}
	return out, nil
}

// NewestMetric returns the last of Metrics, and whether there is one.
func (r *Runtime) NewestMetric(_ context.Context, id string) (Metric, bool, error) {
	sb, ok := r.find(id)
	if !ok || !visible(sb.state()) {
		return Metric{}, false, notFound(id)
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.usage.forget(time.Now())
	n := len(sb.usage.readings)
	if n == 0 {
		return Metric{}, false, nil
	}
	return sb.metric(sb.usage.readings[n-1]), true, nil
}

// metric is a reading as others see it. The caller has sb.mu.
func (sb *sandbox) metric(m reading) Metric {
	return Metric{
		Time: time.UnixMilli(m.at), CPUUsedPct: float64(m.cpuPct), CPUCount: sb.row.VCPUs,
		MemUsed: m.memory, MemTotal: sb.usage.limit, DiskTotal: int64(sb.row.DiskMiB) << 20,
	}
}

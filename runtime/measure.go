package runtime

import (
	"context"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

const (
	// measureTick is how often it is looked which sandboxes are to be measured: a
	// client sees its sandbox's first measurement after two ticks at most.
	measureTick = 2 * time.Second
	// measureEvery is the time between the others.
	measureEvery = 10 * time.Second
	// measureKept is how long measurements are kept.
	measureKept = time.Hour
	// askTimeout is how long a guest may take to say what it uses.
	askTimeout = time.Second
	// guestBusy is what a guest computes at least until it is asked again, and
	// askAnyway is when it is in any case. One that is idle stays so.
	guestBusy = 50 * time.Millisecond
	askAnyway = time.Minute
	// askBusy is the longest time until one is asked again that has answered before:
	// it may have too much to do.
	askBusy = 5 * time.Minute
)

// usage is what a sandbox used in the past. It takes 24 bytes for each
// measurement: there are many sandboxes.
type usage struct {
	readings []reading // oldest first
	// run is the machine that was looked at last; at and cpu what was seen. first: of
	// that machine there is no reading yet.
	run   int
	first bool
	at    time.Time
	cpu   time.Duration
	// guest is what that machine's guest said last that it uses, at heard. It was
	// asked at asked, when it had computed askedCPU; zero if it was not yet.
	guest        envd.Metrics
	heard, asked time.Time
	askedCPU     time.Duration
	// silent is how often in a row it gave no answer.
	silent int
}

// reading is a measurement; its sizes are in KiB.
type reading struct {
	at                  int64 // Unix time in milliseconds
	cpuPct              float32
	memory, cache, disk uint32
}

// due reports whether a machine is to be measured now.
func (u *usage) due(run int, now time.Time) bool {
	return u.run != run || u.first || now.Sub(u.at) >= measureEvery
}

// asks reports whether the guest of a machine that was measured is to be asked.
func (u *usage) asks(run int, s vm.Stats) bool {
	if u.run != run || u.asked.IsZero() {
		return true
	}
	passed := s.Time.Sub(u.asked)
	if u.silent > 0 {
		most := measureKept // It may be one that stopped its agent.
		if !u.heard.IsZero() {
			most = askBusy
		}
		return passed >= min(measureEvery<<min(u.silent, 10), most)
	}
	return passed >= askAnyway || s.CPUTime-u.askedCPU >= guestBusy
}

// answered takes what a guest said when it was asked, or nil if nothing. What it
// said before counts for a while after that: see add.
func (u *usage) answered(run int, s vm.Stats, m *envd.Metrics) {
	if u.run != run {
		u.guest, u.heard, u.silent = envd.Metrics{}, time.Time{}, 0
	}
	u.asked, u.askedCPU = s.Time, s.CPUTime
	if m == nil {
		u.silent++
		return
	}
	u.guest, u.heard, u.silent = *m, s.Time, 0
}

// add takes a look at a machine. The first one shows only where its clock of
// processor time stands: that has run before the machine was this sandbox's.
func (u *usage) add(run int, s vm.Stats, vcpus int) {
	passed, used, other := s.Time.Sub(u.at), s.CPUTime-u.cpu, u.run != run
	u.run, u.first, u.at, u.cpu = run, other, s.Time, s.CPUTime
	if other || passed <= 0 {
		return
	}
	u.forget(s.Time)
	if u.silent > 0 && s.Time.Sub(u.heard) > askAnyway {
		u.guest = envd.Metrics{}
	}
	memory := u.guest.MemUsed
	if memory <= 0 {
		memory = s.MemoryBytes
	}
	u.readings = append(u.readings, reading{
		at: s.Time.UnixMilli(), cpuPct: float32(100 * used.Seconds() / passed.Seconds() / float64(max(vcpus, 1))),
		memory: kib(memory), cache: kib(u.guest.MemCache), disk: kib(u.guest.DiskUsed),
	})
}

// kib is a number of bytes in KiB, rounded up.
func kib(bytes int64) uint32 {
	if bytes <= 0 {
		return 0
	}
	return uint32(min((bytes-1)>>10+1, math.MaxUint32))
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
// for all of them. It asks the host, and a guest only when that has done something.
func (r *Runtime) lookAtUsage(driver vm.Statser) {
	tick := time.NewTicker(measureTick)
	defer tick.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case <-tick.C:
			r.measureAll(driver)
		}
	}
}

func (r *Runtime) measureAll(driver vm.Statser) {
	all := r.all()
	var group errgroup.Group
	group.SetLimit(beatsAtOnce(len(all), measureEvery))
	for _, sb := range all {
		sb.mu.Lock()
		run, due := sb.run, sb.row.State == sandbox.StateRunning && sb.usage.due(sb.run, time.Now())
		sb.mu.Unlock()
		if due {
			group.Go(func() error { r.measure(driver, sb, run); return nil })
		}
	}
	_ = group.Wait()
}

func (r *Runtime) measure(driver vm.Statser, sb *handle, run int) {
	stats, err := driver.Stats(r.life, sb.id)
	if err != nil {
		return // It is about to end, or its next measurement comes.
	}
	sb.mu.Lock()
	asks, secure := sb.usage.asks(run, stats), sb.row.Secure
	sb.mu.Unlock()
	var guest *envd.Metrics
	if asks = asks && !sb.life.busy(time.Now()); asks { // It may be frozen.
		guest = r.askUsage(sb.id, secure)
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.run != run || sb.row.State != sandbox.StateRunning {
		return
	}
	if asks {
		sb.usage.answered(run, stats, guest)
	}
	sb.usage.add(run, stats, sb.row.VCPUs)
}

// askUsage asks a guest what it uses; nil if it does not say.
func (r *Runtime) askUsage(id string, secure bool) *envd.Metrics {
	ctx, cancel := context.WithTimeout(r.life, askTimeout)
	defer cancel()
	token := ""
	if secure {
		token = r.tokens.Envd(id)
	}
	m, err := envd.ReadMetrics(ctx, r.machines.Agent(id), token)
	if err != nil {
		return nil
	}
	return &m
}

// Metrics returns the measurements of a sandbox in [start, end], oldest first; a
// zero bound is none. There is one every ten seconds that it ran, for an hour,
// and none from before the daemon started. Memory and disk are what the guest
// counts; one that does not say has what the host counts as its memory, and no
// disk. ErrSandboxNotFound.
func (r *Runtime) Metrics(_ context.Context, id string, start, end time.Time) ([]sandbox.Metric, error) {
	sb, ok := r.find(id)
	if !ok {
		return nil, r.ends.gone(id)
	}
	if !sb.state().Visible() {
		return nil, sb.gone()
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.usage.forget(time.Now())
	var out []sandbox.Metric
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
func (r *Runtime) NewestMetric(_ context.Context, id string) (sandbox.Metric, bool, error) {
	sb, ok := r.find(id)
	if !ok || !sb.state().Visible() {
		return sandbox.Metric{}, false, fault.NotFound(id)
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.usage.forget(time.Now())
	n := len(sb.usage.readings)
	if n == 0 {
		return sandbox.Metric{}, false, nil
	}
	return sb.metric(sb.usage.readings[n-1]), true, nil
}

// metric is a reading as others see it. What a guest says may be anything: it is
// never more than there is. The caller has sb.mu.
func (sb *handle) metric(m reading) sandbox.Metric {
	memory, disk := int64(sb.row.MemoryMiB)<<20, int64(sb.row.DiskMiB)<<20
	within := func(kib uint32, total int64) int64 {
		if total <= 0 {
			return int64(kib) << 10
		}
		return min(int64(kib)<<10, total)
	}
	return sandbox.Metric{
		Time: time.UnixMilli(m.at), CPUUsedPct: float64(m.cpuPct), CPUCount: sb.row.VCPUs,
		MemUsed: within(m.memory, memory), MemTotal: memory, MemCache: within(m.cache, memory),
		DiskUsed: within(m.disk, disk), DiskTotal: disk,
	}
}

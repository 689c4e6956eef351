package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// readTimeout is how long a scrape waits for the state.
const readTimeout = 5 * time.Second

// poolLabels is how many warm pools are shown by name.
const poolLabels = 64

// RegisterState shows the state in the metrics. read is called at each scrape,
// at several times at once, and should return when its context ends; an error
// leaves the state out. A second call returns an error.
func (t *Telemetry) RegisterState(read func(context.Context) (State, error)) error {
	if t == nil {
		return nil
	}
	if err := t.registry.Register(newCollector(t.cfg.Namespace, read)); err != nil {
		return fmt.Errorf("register the state: %w", err)
	}
	return nil
}

type collector struct {
	read func(context.Context) (State, error)
	all  []*prometheus.Desc

	sandboxes, stuck, kills, reconciled, pending, refused, snapshots, snapshotBytes       *prometheus.Desc
	cpusUsed, cpus, memoryUsed, memory, diskUsed, disk, slotsUsed, slots                  *prometheus.Desc
	poolReady, poolPrepared, poolTarget, poolHits, poolMisses, poolOldestAge, poolRefills *prometheus.Desc
}

func newCollector(namespace string, read func(context.Context) (State, error)) *collector {
	var all []*prometheus.Desc
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
		all = append(all, d)
		return d
	}
	c := &collector{
		read:          read,
		sandboxes:     desc("sandboxes", "Sandboxes now, by state.", "state"),
		stuck:         desc("sandboxes_stuck", "Sandboxes that are past the deadline of a transitional state."),
		kills:         desc("sandbox_kills_total", "Sandboxes that ended, by class of the reason.", "reason"),
		reconciled:    desc("reconciled_total", "Objects found and not in order, by what was done with them.", "action"),
		pending:       desc("queue_pending", "Creates that wait for capacity."),
		refused:       desc("queue_refused_total", "Creates that were refused, by kind.", "kind"),
		snapshots:     desc("snapshots", "Snapshots that are kept."),
		snapshotBytes: desc("snapshot_bytes", "Disk space of the snapshots that are kept."),
		cpusUsed:      desc("capacity_cpus_reserved", "Processors reserved for sandboxes."),
		cpus:          desc("capacity_cpus", "Processors that can be reserved."),
		memoryUsed:    desc("capacity_memory_reserved_bytes", "Memory reserved for sandboxes."),
		memory:        desc("capacity_memory_bytes", "Memory that can be reserved."),
		diskUsed:      desc("capacity_disk_reserved_bytes", "Disk space reserved for sandboxes."),
		disk:          desc("capacity_disk_bytes", "Disk space that can be reserved."),
		slotsUsed:     desc("capacity_sandboxes_reserved", "Sandboxes that are reserved."),
		slots:         desc("capacity_sandboxes", "Sandboxes that can be reserved."),
		poolReady:     desc("warm_pool_ready", "Sandboxes that can be checked out.", "pool"),
		poolPrepared:  desc("warm_pool_prepared", "Sandboxes that are created ahead but not restored.", "pool"),
		poolTarget:    desc("warm_pool_target", "Sandboxes that the pool should hold.", "pool"),
		poolHits:      desc("warm_pool_hits_total", "Creates that the pool served.", "pool"),
		poolMisses:    desc("warm_pool_misses_total", "Creates that found the pool empty.", "pool"),
		poolOldestAge: desc("warm_pool_oldest_age_seconds", "Age of the oldest sandbox that can be checked out.", "pool"),
		poolRefills:   desc("warm_pool_refill_seconds", "How long refills took, those that succeeded.", "pool"),
	}
	c.all = all
	return c
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.all {
		out <- d
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	s, err := c.read(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.sandboxes, fmt.Errorf("read the state: %w", err))
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counters := func(d *prometheus.Desc, counts map[string]uint64, allowed []string, label func(string) string) {
		for name, n := range sums(counts, allowed, label) {
			counter(d, n, name)
		}
	}
	inOrNot := func(allowed []string) func(string) string {
		return func(name string) string { return known(name, allowed) }
	}
	for state, n := range sums(s.Sandboxes, stateLabels, inOrNot(stateLabels)) {
		gauge(c.sandboxes, float64(n), state)
	}
	counters(c.kills, s.Kills, reasonLabels, ReasonClass)
	if r := s.Recovery; r != nil {
		gauge(c.stuck, float64(r.Stuck))
		counters(c.reconciled, r.Reconciled, reconciled, inOrNot(reconciled))
	}
	if q := s.Queue; q != nil {
		gauge(c.pending, float64(q.Pending))
		counters(c.refused, q.Refused, refusals, inOrNot(refusals))
	}
	if k := s.Capacity; k != nil {
		gauge(c.cpusUsed, k.CPUs.Used)
		gauge(c.cpus, k.CPUs.Total)
		gauge(c.memoryUsed, k.MemoryBytes.Used)
		gauge(c.memory, k.MemoryBytes.Total)
		gauge(c.diskUsed, k.DiskBytes.Used)
		gauge(c.disk, k.DiskBytes.Total)
		gauge(c.slotsUsed, k.Sandboxes.Used)
		gauge(c.slots, k.Sandboxes.Total)
	}
	for name, p := range pools(s.WarmPools) {
		gauge(c.poolReady, float64(p.Ready), name)
		gauge(c.poolPrepared, float64(p.Prepared), name)
		gauge(c.poolTarget, float64(p.Target), name)
		counter(c.poolHits, p.Hits, name)
		counter(c.poolMisses, p.Misses, name)
		gauge(c.poolOldestAge, p.OldestAge.Seconds(), name)
		out <- prometheus.MustNewConstSummary(c.poolRefills, p.Refills, p.RefillTotal.Seconds(), nil, name)
	}
	if n := s.Snapshots; n != nil {
		gauge(c.snapshots, float64(n.Count))
		gauge(c.snapshotBytes, float64(n.Bytes))
	}
}

// sums adds up by label. Every label that is allowed is there, so that a rate
// over a counter sees its first event; none are if the counts are nil.
func sums[N int | uint64](counts map[string]N, allowed []string, label func(string) string) map[string]N {
	if counts == nil {
		return nil
	}
	out := map[string]N{}
	for _, name := range allowed {
		out[name] = 0
	}
	for name, n := range counts {
		out[label(name)] += n
	}
	return out
}

// pools bounds the number of names.
func pools(all map[string]WarmPool) map[string]WarmPool {
	out := map[string]WarmPool{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		name := cmp.Or(text(key), other)
		if _, there := out[name]; !there && len(out) >= poolLabels {
			name = other
		}
		sum, p := out[name], all[key]
		sum.Ready += p.Ready
		sum.Prepared += p.Prepared
		sum.Target += p.Target
		sum.Hits += p.Hits
		sum.Misses += p.Misses
		sum.OldestAge = max(sum.OldestAge, p.OldestAge)
		sum.Refills += p.Refills
		sum.RefillTotal += p.RefillTotal
		out[name] = sum
	}
	return out
}

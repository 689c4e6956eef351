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
	admitted, yielded, silent, unrecovered, pressure, pressureEntered, refusing           *prometheus.Desc
	lacking, setAside, networkRepairs, refusedPackets                                     *prometheus.Desc
	pagedOut, pagedOutBytes, pageOuts, wakeUps                                            *prometheus.Desc
	cpus, memory, disk, slots, launches                                                   amount
	poolReady, poolPrepared, poolTarget, poolHits, poolMisses, poolOldestAge, poolRefills *prometheus.Desc
	poolInFlight, poolFailures                                                            *prometheus.Desc
}

// amount is how a resource is shown.
type amount struct{ reserved, limit, total *prometheus.Desc }

func newCollector(namespace string, read func(context.Context) (State, error)) *collector {
	var all []*prometheus.Desc
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
		all = append(all, d)
		return d
	}
	capacity := func(name, unit, what string) amount {
		name = "capacity_" + name
		return amount{
			desc(name+"_reserved"+unit, what+" reserved for active sandboxes and for the warm pool.", "for"),
			desc(name+"_limit"+unit, what+" that can be reserved now."),
			desc(name+unit, what+" that can be reserved, in total."),
		}
	}
	c := &collector{
		read:            read,
		sandboxes:       desc("sandboxes", "Number of sandboxes, by state.", "state"),
		stuck:           desc("sandboxes_stuck", "Number of sandboxes past the deadline of a transitional state."),
		unrecovered:     desc("unrecovered", "Number of sandboxes, machines and networks that are not recovered yet since the last start."),
		silent:          desc("sandboxes_silent", "Number of running sandboxes that failed their last health check."),
		pressure:        desc("pressure", "Host pressure state: 1 for the current state, 0 for the others.", "state"),
		pressureEntered: desc("pressure_entered_total", "Number of times the host entered a pressure state.", "state"),
		setAside:        desc("set_aside", "Number of orphans and quarantined sandboxes kept for an operator, by kind.", "kind"),
		refusing:        desc("refusing_new_work", "1 while new work is refused because the host is under pressure."),
		lacking:         desc("lacking", "1 if the daemon is short of a resource, by resource.", "what"),
		networkRepairs:  desc("network_repairs_total", "Number of repairs of network parts that another program removed.", "what"),
		refusedPackets:  desc("network_refused_packets_total", "Number of packets of sandboxes that the network refused, as far as the kernel reported them."),
		pagedOut:        desc("sandboxes_paged_out", "Number of idle sandboxes whose memory is in the host's swap."),
		pagedOutBytes:   desc("paged_out_bytes", "Memory that paging out these sandboxes freed."),
		pageOuts:        desc("page_outs_total", "Number of times an idle sandbox was paged out."),
		wakeUps:         desc("page_out_wake_ups_total", "Number of times a paged out sandbox was used again."),
		kills:           desc("sandbox_kills_total", "Number of killed sandboxes, by reason class.", "reason"),
		reconciled:      desc("reconciled_total", "Number of inconsistent objects reconciled, by action.", "action"),
		pending:         desc("queue_pending", "Number of requests waiting for capacity."),
		admitted:        desc("queue_admitted_total", "Number of requests that got capacity, immediately or after waiting."),
		yielded:         desc("queue_yielded_total", "Number of warm sandboxes evicted to free capacity for requests."),
		refused:         desc("queue_refused_total", "Number of requests refused or abandoned, by kind.", "kind"),
		snapshots:       desc("snapshots", "Number of snapshots, by kind.", "kind"),
		snapshotBytes:   desc("snapshot_bytes", "Size of snapshot files, by kind; shared files count once.", "kind"),
		cpus:            capacity("cpus", "", "Processors"),
		memory:          capacity("memory", "_bytes", "Memory"),
		disk:            capacity("disk", "_bytes", "Disk space"),
		slots:           capacity("sandboxes", "", "Sandboxes"),
		launches:        capacity("launches", "", "Machine launches"),
		poolReady:       desc("warm_pool_ready", "Number of warm sandboxes ready for checkout.", "pool"),
		poolPrepared:    desc("warm_pool_prepared", "Number of prepared sandboxes, not restored yet.", "pool"),
		poolTarget:      desc("warm_pool_target", "Target number of warm sandboxes.", "pool"),
		poolHits:        desc("warm_pool_hits_total", "Number of creates served from the warm pool.", "pool"),
		poolMisses:      desc("warm_pool_misses_total", "Number of creates that found no warm sandbox, including those served by a prepared one.", "pool"),
		poolInFlight:    desc("warm_pool_in_flight", "Number of warm sandboxes being created.", "pool"),
		poolFailures:    desc("warm_pool_failures_total", "Number of warm sandboxes that could not be created.", "pool"),
		poolOldestAge:   desc("warm_pool_oldest_age_seconds", "Age of the oldest warm sandbox.", "pool"),
		poolRefills:     desc("warm_pool_refill_seconds", "Duration of successful warm pool refills.", "pool"),
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
		gauge(c.silent, float64(r.Silent))
		gauge(c.unrecovered, float64(r.Unrecovered))
		for kind, n := range sums(r.SetAside, asideLabels, inOrNot(asideLabels)) {
			gauge(c.setAside, float64(n), kind)
		}
		counters(c.reconciled, r.Reconciled, reconciled, inOrNot(reconciled))
	}
	if p := s.Pressure; p != nil {
		for state, is := range sums(map[string]int{p.State: 1}, pressures, inOrNot(pressures)) {
			gauge(c.pressure, float64(is), state)
		}
		counters(c.pressureEntered, p.Entered, pressures, inOrNot(pressures))
		refusing := 0.0
		if p.Refusing {
			refusing = 1
		}
		gauge(c.refusing, refusing)
	}
	if p := s.PagedOut; p != nil {
		gauge(c.pagedOut, float64(p.Sandboxes))
		gauge(c.pagedOutBytes, float64(p.Bytes))
		counter(c.pageOuts, p.Outs)
		counter(c.wakeUps, p.WakeUps)
	}
	for what, short := range s.Lacking {
		value := 0.0
		if short {
			value = 1
		}
		gauge(c.lacking, value, text(what))
	}
	for what, n := range s.NetworkRepairs {
		counter(c.networkRepairs, n, text(what))
	}
	counter(c.refusedPackets, s.RefusedPackets)
	if q := s.Queue; q != nil {
		gauge(c.pending, float64(q.Pending))
		counter(c.admitted, q.Admitted)
		counter(c.yielded, q.Yielded)
		counters(c.refused, q.Refused, refusals, inOrNot(refusals))
	}
	if k := s.Capacity; k != nil {
		for res, u := range map[amount]Usage{
			c.cpus: k.CPUs, c.memory: k.MemoryBytes, c.disk: k.DiskBytes, c.slots: k.Sandboxes, c.launches: k.Launches,
		} {
			gauge(res.reserved, u.Active, "active")
			gauge(res.reserved, u.Warm, "warm")
			gauge(res.limit, u.Limit)
			gauge(res.total, u.Total)
		}
	}
	for name, p := range pools(s.WarmPools) {
		gauge(c.poolReady, float64(p.Ready), name)
		gauge(c.poolPrepared, float64(p.Prepared), name)
		gauge(c.poolTarget, float64(p.Target), name)
		counter(c.poolHits, p.Hits, name)
		counter(c.poolMisses, p.Misses, name)
		gauge(c.poolInFlight, float64(p.InFlight), name)
		counter(c.poolFailures, p.Failures, name)
		gauge(c.poolOldestAge, p.OldestAge.Seconds(), name)
		out <- prometheus.MustNewConstSummary(c.poolRefills, p.Refills, p.RefillTotal.Seconds(), nil, name)
	}
	for kind, n := range snapshots(s.Snapshots) {
		gauge(c.snapshots, float64(n.Count), kind)
		gauge(c.snapshotBytes, float64(n.Bytes), kind)
	}
}

// sums adds up by label. Every label that is allowed is there, so that a rate
// over a counter sees its first event; none are if the counts are nil.
func sums[K ~string, N int | uint64](counts map[K]N, allowed []string, label func(string) string) map[string]N {
	if counts == nil {
		return nil
	}
	out := map[string]N{}
	for _, name := range allowed {
		out[name] = 0
	}
	for name, n := range counts {
		out[label(string(name))] += n
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
		sum.InFlight += p.InFlight
		sum.Failures += p.Failures
		sum.OldestAge = max(sum.OldestAge, p.OldestAge)
		sum.Refills += p.Refills
		sum.RefillTotal += p.RefillTotal
		out[name] = sum
	}
	return out
}

// snapshots has every kind that is known; none if the map is nil.
func snapshots(all map[string]Snapshots) map[string]Snapshots {
	if all == nil {
		return nil
	}
	out := map[string]Snapshots{}
	for _, kind := range kinds {
		out[kind] = Snapshots{}
	}
	for kind, n := range all {
		sum := out[known(kind, kinds)]
		out[known(kind, kinds)] = Snapshots{sum.Count + n.Count, sum.Bytes + n.Bytes}
	}
	return out
}

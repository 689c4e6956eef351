package node

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/telemetry"
)

// figurer is the part of a runtime that the metrics use.
type figurer interface {
	Figures(ctx context.Context) (runtime.Figures, error)
}

// state returns the state for the node's metrics.
func state(ctx context.Context, rt figurer) (telemetry.State, error) {
	f, err := rt.Figures(ctx)
	if err != nil {
		return telemetry.State{}, err
	}
	s := telemetry.State{
		Sandboxes: map[sandbox.State]int{}, Capacity: capacityState(f.Capacity), WarmPools: map[string]telemetry.WarmPool{},
		Kills: map[string]uint64{}, Snapshots: map[string]telemetry.Snapshots{},
		Queue: &telemetry.Queue{
			Pending: f.Queue.Pending, Admitted: f.Queue.Admitted, Yielded: f.Queue.Yielded,
			Refused: map[string]uint64{
				"oversized": f.Queue.Oversized, "queue_full": f.Queue.Full, "pressure": f.Queue.Refused,
				"deadline": f.GaveUp, "canceled": f.Queue.Cancelled - f.GaveUp, "disk": f.DiskFull,
			},
		},
		Recovery: &telemetry.Recovery{Stuck: f.Stuck, Silent: f.Supervision.Silent, Unrecovered: len(f.Supervision.Unrecovered), SetAside: f.SetAside, Reconciled: reconciled(f)},
		Pressure: &telemetry.Pressure{
			State: f.Pressure.State.String(), Refusing: f.Pressure.Refusing != "", Entered: map[string]uint64{},
		},
		PagedOut: &telemetry.PagedOut{
			Sandboxes: f.PagedOut.PagedOut, Bytes: f.PagedOut.Bytes, Outs: f.PagedOut.Outs, WakeUps: f.PagedOut.WakeUps,
		},
		Lacking: map[string]bool{}, NetworkRepairs: f.Repairs, RefusedPackets: f.RefusedPackets,
	}
	for _, what := range supervise.AllLacks {
		s.Lacking[what] = slices.Contains(f.Lacking, what)
	}
	for state, n := range f.Pressure.Entered {
		s.Pressure.Entered[state.String()] = n
	}
	for state, n := range f.Sandboxes {
		s.Sandboxes[state] = n
	}
	for reason, n := range f.Kills {
		s.Kills[telemetry.ReasonClass(reason)] += n
	}
	for kind, n := range f.Snapshots {
		s.Snapshots[kind] = telemetry.Snapshots(n)
	}
	for _, p := range f.WarmPools {
		s.WarmPools[p.Template] = telemetry.WarmPool{
			Ready: p.Ready, Prepared: p.Prepared, Target: p.Target.Ready, InFlight: p.InFlight,
			Hits: p.Hits, Misses: p.Misses, Failures: p.Failures,
			OldestAge: p.Oldest, Refills: p.Refills, RefillTotal: p.RefillTime,
		}
	}
	return s, nil
}

// reconciled counts the objects that were not in order, at the start and since.
func reconciled(f runtime.Figures) map[string]uint64 {
	out := map[string]uint64{
		"recover": uint64(f.Reconciled.Recovered), "cleanup": uint64(f.Reconciled.CleanedUp),
		"quarantine": uint64(f.Reconciled.Quarantined), "failed": uint64(f.Reconciled.Failed),
	}
	for action, n := range f.Supervision.Settled {
		out[string(reconcile.Action(action).Class())] += n
	}
	for _, n := range f.Supervision.Freed {
		out[string(reconcile.ClassCleanup)] += n
	}
	return out
}

// capacityState is the ledger in the units that metrics have.
func capacityState(u capacity.Usage) *telemetry.Capacity {
	usage := func(unit float64, of func(capacity.Budget) int64) telemetry.Usage {
		amount := func(b capacity.Budget) float64 { return float64(of(b)) / unit }
		return telemetry.Usage{Active: amount(u.Active), Warm: amount(u.Warm), Limit: amount(u.Capacity), Total: amount(u.Capacity)}
	}
	return &telemetry.Capacity{
		CPUs:        usage(1000, func(b capacity.Budget) int64 { return b.CPUs }),
		MemoryBytes: usage(1, func(b capacity.Budget) int64 { return b.MemoryBytes }),
		DiskBytes:   usage(1, func(b capacity.Budget) int64 { return b.DiskBytes }),
		Sandboxes:   usage(1, func(b capacity.Budget) int64 { return b.Sandboxes }),
		Launches:    usage(1, func(b capacity.Budget) int64 { return b.Launches }),
	}
}

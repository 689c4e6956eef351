package node

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/telemetry"
)

// figures are what a runtime answers.
type figures func() (runtime.Figures, error)

func (f figures) Figures(context.Context) (runtime.Figures, error) { return f() }

// known are figures of which every one is another.
func known() (runtime.Figures, error) {
	return runtime.Figures{
		Sandboxes: map[sandbox.State]int{sandbox.StateRunning: 2, sandbox.StatePaused: 1}, Stuck: 3,
		Capacity: capacity.Usage{
			Capacity: capacity.Budget{CPUs: 4000, MemoryBytes: 5, DiskBytes: 32, Sandboxes: 6, Launches: 7},
			Active:   capacity.Budget{CPUs: 2500, DiskBytes: 8}, Warm: capacity.Budget{CPUs: 500, Sandboxes: 9},
		},
		Queue:  capacity.Stats{Pending: 10, Admitted: 11, Cancelled: 20, Oversized: 13, Full: 14, Refused: 15, Yielded: 16},
		GaveUp: 8, DiskFull: 17,
		WarmPools: []runtime.WarmPool{{Template: "base", Stats: warmpool.Stats{
			Target: warmpool.Target{Ready: 18, Prepared: 99}, Ready: 19, Prepared: 20, InFlight: 21, Oldest: time.Minute,
			Counters: warmpool.Counters{Hits: 22, Misses: 23, Failures: 24, Refills: 25, RefillTime: time.Second},
		}}},
		Kills:      map[string]uint64{"killed by request": 26, "exited": 27, "stuck": 28, "because": 29},
		Reconciled: reconcile.Report{Recovered: 30, CleanedUp: 31, Quarantined: 32, Failed: 33},
		Snapshots:  map[string]runtime.SnapshotFigures{"pause": {Count: 34, Bytes: 35}},
		Supervision: runtime.SupervisionReport{
			Silent: 36, Unrecovered: map[string]string{"i1": "a", "i2": "b"}, Settled: map[string]uint64{"kill": 100, "undo_pause": 200}, Freed: map[string]uint64{"snapshot": 1000, "slot": 2000},
		},
		Pressure: supervise.PressureReport{
			State: autoscale.Critical, Refusing: "memory", Entered: map[autoscale.State]uint64{autoscale.Watch: 37, autoscale.Critical: 38},
		},
		PagedOut: pageout.Figures{PagedOut: 40, Bytes: 41, Outs: 42, WakeUps: 43},
		Lacking:  []string{"disk space", "memory"},
		Repairs:  map[string]uint64{"uplink": 39}, RefusedPackets: 44,
	}, nil
}

func TestNodeStateHasAllFigures(t *testing.T) {
	got, err := state(t.Context(), figures(known))
	if err != nil {
		t.Fatal(err)
	}
	want := telemetry.State{
		Sandboxes: map[sandbox.State]int{"running": 2, "paused": 1},
		Capacity: &telemetry.Capacity{
			CPUs:        telemetry.Usage{Active: 2.5, Warm: 0.5, Limit: 4, Total: 4},
			MemoryBytes: telemetry.Usage{Limit: 5, Total: 5},
			DiskBytes:   telemetry.Usage{Active: 8, Limit: 32, Total: 32},
			Sandboxes:   telemetry.Usage{Warm: 9, Limit: 6, Total: 6},
			Launches:    telemetry.Usage{Limit: 7, Total: 7},
		},
		Queue: &telemetry.Queue{Pending: 10, Admitted: 11, Yielded: 16, Refused: map[string]uint64{
			"oversized": 13, "queue_full": 14, "pressure": 15, "deadline": 8, "canceled": 12, "disk": 17,
		}},
		WarmPools: map[string]telemetry.WarmPool{"base": {
			Target: 18, Ready: 19, Prepared: 20, InFlight: 21, OldestAge: time.Minute,
			Hits: 22, Misses: 23, Failures: 24, Refills: 25, RefillTotal: time.Second,
		}},
		Kills:     map[string]uint64{"request": 26, "exited": 27, "stuck": 28, "other": 29},
		Recovery:  &telemetry.Recovery{Stuck: 3, Silent: 36, Unrecovered: 2, Reconciled: map[string]uint64{"recover": 230, "cleanup": 3131, "quarantine": 32, "failed": 33}},
		Pressure:  &telemetry.Pressure{State: "critical", Refusing: true, Entered: map[string]uint64{"watch": 37, "critical": 38}},
		PagedOut:  &telemetry.PagedOut{Sandboxes: 40, Bytes: 41, Outs: 42, WakeUps: 43},
		Snapshots: map[string]telemetry.Snapshots{"pause": {Count: 34, Bytes: 35}},
		Lacking: map[string]bool{
			"disk space": true, "memory": true, "file descriptors": false, "local ports": false, "processes": false,
			"connection tracking entries": false, "a way to hear its sandboxes": false, "a network that is whole": false,
		},
		NetworkRepairs: map[string]uint64{"uplink": 39}, RefusedPackets: 44,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\ncapacity %+v, queue %+v, recovery %+v", got, want, got.Capacity, got.Queue, got.Recovery)
	}
	locked := errors.New("locked")
	if _, err := state(t.Context(), figures(func() (runtime.Figures, error) { return runtime.Figures{}, locked })); !errors.Is(err, locked) {
		t.Errorf("%v", err)
	}
}

package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

// full is a state of which every part is known.
func full() State {
	return State{
		Sandboxes: map[sandbox.State]int{"running": 3, "paused": 1},
		Capacity: &Capacity{
			CPUs: Usage{2.5, 1, 6, 8}, MemoryBytes: Usage{1 << 30, 512, 1 << 33, 1 << 34}, DiskBytes: Usage{5, 6, 7, math.Inf(1)},
			Sandboxes: Usage{4, 3, 50, 100}, Launches: Usage{1, 0, 2, 2},
		},
		Queue: &Queue{Pending: 7, Admitted: 11, Yielded: 3, Refused: map[string]uint64{"oversized": 2, "queue_full": 1}},
		WarmPools: map[string]WarmPool{"base": {
			Ready: 2, Prepared: 1, Target: 4, InFlight: 5, Hits: 90, Misses: 10, Failures: 6,
			OldestAge: 90 * time.Second, Refills: 12, RefillTotal: 3 * time.Second,
		}},
		Kills:   map[string]uint64{"killed by request": 5, "exited: 1": 2, "exited: 137": 1},
		Lacking: map[string]bool{"memory": true, "file descriptors": false},

		PagedOut:       &PagedOut{Sandboxes: 13, Bytes: 1 << 24, Outs: 21, WakeUps: 14},
		NetworkRepairs: map[string]uint64{"host_rules": 8, "uplink": 0},
		RefusedPackets: 15,
		Pressure:       &Pressure{State: "shrink", Entered: map[string]uint64{"shrink": 2, "nominal": 1, "a\xff": 1}, Refusing: true},
		Recovery:       &Recovery{Stuck: 1, Silent: 4, Unrecovered: 3, SetAside: map[string]int{"snapshot": 5, "a\xff": 1}, Reconciled: map[string]uint64{"quarantine": 2}},
		Snapshots:      map[string]Snapshots{"pause": {Count: 6, Bytes: 1 << 20}, "a\xff": {Count: 1, Bytes: 2}, "b": {Count: 1, Bytes: 3}},
	}
}

func withState(t *testing.T, read func(context.Context) (State, error)) *Telemetry {
	t.Helper()
	tel := untraced(t)
	if err := tel.RegisterState(read); err != nil {
		t.Fatal(err)
	}
	return tel
}

func always(s State) func(context.Context) (State, error) {
	return func(context.Context) (State, error) { return s, nil }
}

func TestStateIsShown(t *testing.T) {
	expect(t, scrape(t, withState(t, always(full()))), map[string]string{
		`rundlet_sandboxes{state="running"}`:                   "3",
		`rundlet_sandboxes{state="paused"}`:                    "1",
		`rundlet_sandboxes{state="killing"}`:                   "0",
		`rundlet_sandboxes_stuck`:                              "1",
		`rundlet_sandboxes_paged_out`:                          "13",
		`rundlet_paged_out_bytes`:                              "1.6777216e+07",
		`rundlet_page_outs_total`:                              "21",
		`rundlet_page_out_wake_ups_total`:                      "14",
		`rundlet_capacity_cpus_reserved{for="active"}`:         "2.5",
		`rundlet_capacity_cpus_reserved{for="warm"}`:           "1",
		`rundlet_sandboxes_silent`:                             "4",
		`rundlet_unrecovered`:                                  "3",
		`rundlet_set_aside{kind="snapshot"}`:                   "5",
		`rundlet_set_aside{kind="machine"}`:                    "0",
		`rundlet_set_aside{kind="other"}`:                      "1",
		`rundlet_pressure{state="shrink"}`:                     "1",
		`rundlet_pressure{state="nominal"}`:                    "0",
		`rundlet_pressure_entered_total{state="shrink"}`:       "2",
		`rundlet_pressure_entered_total{state="other"}`:        "1",
		`rundlet_refusing_new_work`:                            "1",
		`rundlet_lacking{what="memory"}`:                       "1",
		`rundlet_lacking{what="file descriptors"}`:             "0",
		`rundlet_network_repairs_total{what="host_rules"}`:     "8",
		`rundlet_network_repairs_total{what="uplink"}`:         "0",
		`rundlet_network_refused_packets_total`:                "15",
		`rundlet_capacity_cpus_limit`:                          "6",
		`rundlet_capacity_cpus`:                                "8",
		`rundlet_capacity_memory_reserved_bytes{for="active"}`: "1.073741824e+09",
		`rundlet_capacity_memory_reserved_bytes{for="warm"}`:   "512",
		`rundlet_capacity_memory_limit_bytes`:                  "8.589934592e+09",
		`rundlet_capacity_memory_bytes`:                        "1.7179869184e+10",
		`rundlet_capacity_disk_reserved_bytes{for="warm"}`:     "6",
		`rundlet_capacity_disk_limit_bytes`:                    "7",
		`rundlet_capacity_disk_bytes`:                          "+Inf",
		`rundlet_capacity_sandboxes_reserved{for="active"}`:    "4",
		`rundlet_capacity_sandboxes`:                           "100",
		`rundlet_capacity_launches_reserved{for="active"}`:     "1",
		`rundlet_capacity_launches_limit`:                      "2",
		`rundlet_queue_admitted_total`:                         "11",
		`rundlet_queue_yielded_total`:                          "3",
		`rundlet_warm_pool_in_flight{pool="base"}`:             "5",
		`rundlet_warm_pool_failures_total{pool="base"}`:        "6",
		`rundlet_queue_pending`:                                "7",
		`rundlet_queue_refused_total{kind="oversized"}`:        "2",
		`rundlet_queue_refused_total{kind="queue_full"}`:       "1",
		`rundlet_queue_refused_total{kind="deadline"}`:         "0",
		`rundlet_warm_pool_ready{pool="base"}`:                 "2",
		`rundlet_warm_pool_prepared{pool="base"}`:              "1",
		`rundlet_warm_pool_target{pool="base"}`:                "4",
		`rundlet_warm_pool_hits_total{pool="base"}`:            "90",
		`rundlet_warm_pool_misses_total{pool="base"}`:          "10",
		`rundlet_warm_pool_oldest_age_seconds{pool="base"}`:    "90",
		`rundlet_warm_pool_refill_seconds_count{pool="base"}`:  "12",
		`rundlet_warm_pool_refill_seconds_sum{pool="base"}`:    "3",
		`rundlet_sandbox_kills_total{reason="request"}`:        "5",
		`rundlet_sandbox_kills_total{reason="exited"}`:         "3",
		`rundlet_sandbox_kills_total{reason="oom"}`:            "0",
		`rundlet_reconciled_total{action="quarantine"}`:        "2",
		`rundlet_reconciled_total{action="recover"}`:           "0",
		`rundlet_snapshots{kind="pause"}`:                      "6",
		`rundlet_snapshots{kind="fork"}`:                       "0",
		`rundlet_snapshots{kind="other"}`:                      "2",
		`rundlet_snapshot_bytes{kind="pause"}`:                 "1.048576e+06",
		`rundlet_snapshot_bytes{kind="other"}`:                 "5",
	})
}

func TestWhatIsNotKnownIsNotShown(t *testing.T) {
	text := scrape(t, withState(t, always(State{Sandboxes: map[sandbox.State]int{}})))
	expect(t, text, map[string]string{`rundlet_sandboxes{state="running"}`: "0"})
	for _, name := range []string{"capacity", "queue", "warm_pool", "kills", "stuck", "reconciled", "snapshot", "silent", "unrecovered", "pressure", "refusing"} {
		if strings.Contains(text, "rundlet_"+name) || strings.Contains(text, "_"+name+"_total{") {
			t.Errorf("%s is shown", name)
		}
	}
}

// Each distinct value of a label is a series that is kept for long: a guest that
// could choose one could fill the memory of those that collect them.
func TestHostileLabelsBecomeKnownOnes(t *testing.T) {
	hostile := map[string]uint64{}
	for i := range 1000 {
		hostile[fmt.Sprintf("exited: %d", i)] = 1
		hostile[fmt.Sprintf("a reason of a guest's %d\n# HELP x\xff\"}", i)] = 1
	}
	s := full()
	s.Kills, s.Queue.Refused, s.Recovery.Reconciled = hostile, hostile, hostile
	s.Sandboxes = map[sandbox.State]int{"ru\"nning": 2, "\xff": 3}
	text := scrape(t, withState(t, always(s)))
	expect(t, text, map[string]string{
		`rundlet_sandbox_kills_total{reason="exited"}`: "1000",
		`rundlet_sandbox_kills_total{reason="other"}`:  "1000",
		`rundlet_queue_refused_total{kind="other"}`:    "2000",
		`rundlet_reconciled_total{action="other"}`:     "2000",
		`rundlet_sandboxes{state="other"}`:             "5",
	})
	if n := strings.Count(text, "\n"); n > 200 {
		t.Errorf("%d lines", n)
	}
}

func TestWarmPoolsBeyondTheLimitAreShownTogether(t *testing.T) {
	many := map[string]WarmPool{strings.Repeat("x", 1<<20): {Ready: 1}, "": {Ready: 1}, "a\xff": {Ready: 1}}
	for i := range 200 {
		many[fmt.Sprintf("t%03d", i)] = WarmPool{Ready: 1, Hits: 2, OldestAge: time.Duration(i) * time.Second}
	}
	text := scrape(t, withState(t, always(State{WarmPools: many})))
	// "other", of the key that is empty, and "a" come before the numbered ones.
	expect(t, text, map[string]string{
		`rundlet_warm_pool_ready{pool="a"}`:                  "1",
		`rundlet_warm_pool_ready{pool="t061"}`:               "1",
		`rundlet_warm_pool_ready{pool="t062"}`:               "",
		`rundlet_warm_pool_ready{pool="other"}`:              "140",
		`rundlet_warm_pool_hits_total{pool="other"}`:         "276",
		`rundlet_warm_pool_oldest_age_seconds{pool="other"}`: "199",
	})
	if n := strings.Count(text, "rundlet_warm_pool_ready{"); n != poolLabels {
		t.Errorf("%d pools are shown, want %d", n, poolLabels)
	}
}

func TestStateThatCannotBeReadLeavesTheRest(t *testing.T) {
	tel := withState(t, func(ctx context.Context) (State, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a state that hangs would hang the scrape")
		}
		return full(), errors.New("the database is locked")
	})
	tel.Record(latency.KillDelete, time.Second)
	text := scrape(t, tel)
	expect(t, text, map[string]string{`rundlet_stage_seconds_count{stage="kill_delete"}`: "1"})
	if strings.Contains(text, "rundlet_sandboxes") {
		t.Error("a state that could not be read is shown")
	}
}

func TestStateIsRegisteredOnce(t *testing.T) {
	tel := withState(t, always(State{}))
	if err := tel.RegisterState(always(full())); err == nil {
		t.Error("a second state was taken")
	}
}

func TestReasonClass(t *testing.T) {
	for reason, want := range map[string]string{
		"killed by request":        "request",
		"timeout":                  "timeout",
		"oom":                      "oom",
		"exited: 0":                "exited",
		"signal: killed":           "signal",
		"create failed":            "create_failed",
		"the daemon was shut down": "shutdown",
		"lost: it was gone when the daemon started": "lost",
		"lost":                            "lost",
		"stuck: no sign of life for 5m0s": "stuck",
		"request":                         "request",
		"oom killer":                      "other",
		"":                                "other",
		"other":                           "other",
		": exited":                        "other",
	} {
		if got := ReasonClass(reason); got != want {
			t.Errorf("%q is of class %s, want %s", reason, got, want)
		}
	}
}

func FuzzLabels(f *testing.F) {
	for _, seed := range []string{"", "exited: 1", "lost: \xff", "oom", strings.Repeat("€", 200)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c := ReasonClass(s); c != other && !slices.Contains(reasonLabels, c) || ReasonClass(c) != c {
			t.Errorf("%q is of class %q", s, c)
		}
		if l := stageLabel(s); l != other && !slices.Contains(latency.Names(), l) {
			t.Errorf("%q is stage %q", s, l)
		}
		if v := text(s); !utf8.ValidString(v) || len(v) > maxText || len(s) <= maxText && utf8.ValidString(s) && v != s {
			t.Errorf("%q became %q", s, v)
		}
	})
}

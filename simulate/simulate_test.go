package simulate

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/warmpool"
)

func scenario(t *testing.T, name string) Scenario {
	t.Helper()
	s, ok := Find(name)
	if !ok {
		t.Fatalf("no scenario %q", name)
	}
	return s
}

func clean(t *testing.T, r Report) {
	t.Helper()
	if r.Violations != 0 || len(r.Broken) != 0 {
		t.Errorf("%d violations: %s", r.Violations, strings.Join(r.Broken, "\n"))
	}
}

// TestEveryScenarioKeepsTheInvariantsAndTheAutoscaleFigures runs each for ten
// hours on nodes of their own. The bounds are those of the autoscale contract.
func TestEveryScenarioKeepsTheInvariantsAndTheAutoscaleFigures(t *testing.T) {
	for _, s := range Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			r := Fleet(Config{Scenario: s, Duration: time.Hour, Seed: 1}, 10, 2)
			clean(t, r)
			if r.Requests == 0 || s.Pressure > 0 && r.Episodes == 0 || s.Crash > 0 && r.Crashes == 0 {
				t.Errorf("nothing happened: %+v", r.Counts)
			}
			if r.ReadyQueueHit < 90 {
				t.Errorf("ready_queue_hit %.1f %%, want 90", r.ReadyQueueHit)
			}
			if r.SafeSpareUtilisation < 70 {
				t.Errorf("safe_spare limiting utilisation %.1f %%, want 70", r.SafeSpareUtilisation)
			}
			if r.PressureToSafeFloor > Millis(5*time.Second) {
				t.Errorf("pressure_to_safe_floor %v, want 5 s", r.PressureToSafeFloor)
			}
			if r.PressureClearToReadyTarget > Millis(10*time.Second) {
				t.Errorf("pressure_clear_to_ready_target %v, want 10 s", r.PressureClearToReadyTarget)
			}
		})
	}
}

func TestADayOfOneNode(t *testing.T) {
	r := Run(Config{Scenario: scenario(t, "day"), Duration: 24 * time.Hour, Seed: 7})
	clean(t, r)
	for name, n := range map[string]uint64{
		"requests": r.Requests / 1000, "hits": r.Hits, "misses": r.Misses, "queued": r.Queued, "yielded": r.Yielded,
		"retired": r.Retired, "crashes": r.Crashes, "episodes": r.Episodes, "kill retries": r.KillRetries,
		"create failures": r.CreateFailures, "launch failures": r.LaunchFailures,
	} {
		if n == 0 {
			t.Errorf("a day without %s shows nothing", name)
		}
	}
}

func TestTheSameSeedIsTheSameRun(t *testing.T) {
	cfg := Config{Scenario: scenario(t, "churn"), Duration: time.Hour, Seed: 42}
	a, b := Run(cfg), Run(cfg)
	if a.Digest != b.Digest || a.Counts != b.Counts || a.Figures != b.Figures {
		t.Errorf("got\n%+v and\n%+v", a, b)
	}
	cfg.Seed++
	if c := Run(cfg); c.Digest == a.Digest {
		t.Error("another seed gives the same digest")
	}
}

func TestAFleetIsTheSumOfItsNodes(t *testing.T) {
	cfg := Config{Scenario: scenario(t, "interactive_burst"), Duration: time.Hour, Seed: 5}
	one, two := Fleet(cfg, 4, 1), Fleet(cfg, 4, 3)
	if one.Digest != two.Digest || one.Figures != two.Figures {
		t.Errorf("it depends on parallel: %+v and %+v", one, two)
	}
	var requests uint64
	for range 4 {
		requests += Run(cfg).Requests
		cfg.Seed++
	}
	if one.Requests != requests || one.Nodes != 4 || one.Hours != 4 {
		t.Errorf("got %+v, want %d requests", one, requests)
	}
}

// TestBrokenPoliciesAreCaught shows that the checks can fail: each of these
// breaks one part of the policy, and the invariant that is about it notices.
func TestBrokenPoliciesAreCaught(t *testing.T) {
	severe := Scenario{Name: "severe", Rate: 0.1, Life: time.Minute, Idle: 0.4, Pressure: 5 * time.Minute, Length: 2 * time.Minute, Severe: 1}
	crowd := Scenario{Name: "crowd", Rate: 5, Life: 5 * time.Second}
	flood := Scenario{Name: "flood", Rate: 20, Life: time.Hour}
	for _, tc := range []struct {
		name     string
		scenario Scenario
		mutate   func(*policy)
		want     string
	}{
		{"active work is evicted", severe, func(p *policy) {
			p.victims = func(*machine) bool { return true }
		}, "active sandbox"},
		{"nothing is reserved for the host", severe, func(p *policy) {
			p.scale.ReserveMemory = autoscale.Reserve{}
		}, "below the reserve"},
		{"more is promised than there is", flood, func(p *policy) {
			p.scale.ReserveMemory = autoscale.Reserve{}
		}, "more than the capacity is in use"},
		{"what is left of the host is not asked", severe, func(p *policy) {
			p.spare = func(autoscale.Config, autoscale.Sample) capacity.Budget {
				return autoscale.Default().Spare(autoscale.Sample{})
			}
		}, "below the reserve"},
		{"capacity is not released", scenario(t, "churn"), func(p *policy) {
			p.release = func(*capacity.Reservation) {}
		}, "the ledger drifts"},
		{"an entry stays in the pool", scenario(t, "churn"), func(p *policy) {
			p.checkout = func(pool *warmpool.Pool, k warmpool.Key, now time.Time) (warmpool.Entry, bool) {
				e, ok := pool.Checkout(k, now)
				if ok {
					pool.Put(e)
				}
				return e, ok
			}
		}, "handed out twice"},
		{"the queue has no bound", flood, func(p *policy) {
			p.queue.MaxPending = 1 << 20
		}, "requests wait, more than"},
		{"a failed kill is not tried again", scenario(t, "churn"), func(p *policy) {
			p.retryKill = false
		}, "stuck in a transitional state"},
		{"the pool serves past the queue", crowd, func(p *policy) {
			p.overtakes = true
		}, "served after a later one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Scenario: tc.scenario, Duration: 2 * time.Hour, Seed: 3}
			if tc.scenario.Rate > 1 {
				cfg.Duration = 2 * time.Minute
			}
			clean(t, Run(cfg))
			p := policies()
			tc.mutate(&p)
			r := run(cfg, p)
			if r.Violations == 0 || !strings.Contains(strings.Join(r.Broken, "\n"), tc.want) {
				t.Errorf("not caught: %d violations %q, want %q", r.Violations, r.Broken, tc.want)
			}
		})
	}
}

func TestAReportForPeopleAndForPrograms(t *testing.T) {
	r := Fleet(Config{Scenario: scenario(t, "pressure_recovery"), Duration: time.Hour, Seed: 1}, 2, 1)
	r.Broken = []string{"something"}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ready_queue_hit", "safe_spare limiting utilisation", "pressure_to_safe_floor", "pressure_clear_to_ready_target",
		"queue wait", "reserve-floor violations", "active evictions", "leftover", r.Digest, "broken: something"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if ms, _ := fields["pressure_to_safe_floor_ms"].(float64); ms <= 0 || ms != float64(r.PressureToSafeFloor)/1e6 && ms > 5000 {
		t.Errorf("pressure_to_safe_floor_ms is %v, want milliseconds of %v", fields["pressure_to_safe_floor_ms"], r.PressureToSafeFloor)
	}
	if fields["reserve_floor_violations"] != 0.0 || fields["scenario"] != "pressure_recovery" {
		t.Errorf("got %v", fields)
	}
}

func TestScenariosAreFoundByName(t *testing.T) {
	for _, name := range []string{"day", "steady_idle", "interactive_burst", "pressure_shrink", "pressure_recovery", "mixed_active_and_idle", "churn"} {
		if s, ok := Find(name); !ok || s.Name != name {
			t.Errorf("no scenario %q", name)
		}
	}
	if _, ok := Find("none"); ok {
		t.Error("found a scenario that there is not")
	}
}

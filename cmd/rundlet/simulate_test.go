package main

import (
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/simulate/world"
)

func TestSimulatePrintsTheAutoscaleFigures(t *testing.T) {
	home(t)
	out := must(t, "simulate", "--hours", "1", "--nodes", "2", "--seed", "3", "--scenario", "churn")
	for _, want := range []string{"ready_queue_hit", "pressure_to_safe_floor", "reserve-floor violations", "invariant violations",
		"warm 3, prepared 1", "decided by the daemon's code"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	args := []string{"--json", "simulate", "--hours", "0.5", "--seed", "9", "--scenario", "steady_idle", "--warm", "5"}
	a, b := must(t, args...), must(t, args...)
	if a != b {
		t.Errorf("the same seed gives\n%s and\n%s", a, b)
	}
	r := decode[map[string]any](t, a)
	if about, _ := r["about"].(map[string]any); about["warm_ready"] != 5.0 {
		t.Errorf("got %v", about)
	}
	if r["violations"] != 0.0 || r["nodes"] != 1.0 || r["seed"] != 9.0 || r["ready_queue_hit_percent"] == nil {
		t.Errorf("got %v", r)
	}
}

func TestSimulateRefusesWhatItCannotRun(t *testing.T) {
	home(t)
	for flag, values := range map[string][]string{
		"--warm": {"-1"}, "--prepared": {"-1"}, "--nodes": {"0", "-1", "10001"}, "--hours": {"0", "-1", "NaN", "1e9"}, "--scenario": {"", "none"},
	} {
		for _, value := range values {
			if _, err := cli(t, "simulate", flag, value); err == nil {
				t.Errorf("%s %q was accepted", flag, value)
			}
		}
	}
}

func TestSimulateFailsWhereAnInvariantWasBroken(t *testing.T) {
	home(t)
	out, err := cli(t, "simulate", "--hours", "2", "--scenario", "pressure_shrink")
	if err == nil || !strings.Contains(err.Error(), "invariants violated") || !strings.Contains(out, "was started below the reserve") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSimulateIsAboutSandboxesOfTheDefaultSize(t *testing.T) {
	if got := (sandbox.Size{VCPUs: world.SandboxVCPUs, MemoryMiB: world.SandboxMemoryMiB, DiskMiB: world.SandboxDiskMiB}); got != sandbox.DefaultSize {
		t.Errorf("it simulates %+v, the daemon makes %+v", got, sandbox.DefaultSize)
	}
}

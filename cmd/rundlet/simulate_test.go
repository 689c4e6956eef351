package main

import (
	"strings"
	"testing"
)

func TestSimulatePrintsTheAutoscaleFigures(t *testing.T) {
	home(t)
	out := must(t, "simulate", "--hours", "1", "--nodes", "2", "--seed", "3", "--scenario", "pressure_recovery")
	for _, want := range []string{"ready_queue_hit", "pressure_to_safe_floor", "reserve-floor violations", "invariant violations"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	args := []string{"--json", "simulate", "--hours", "0.5", "--seed", "9"}
	a, b := must(t, args...), must(t, args...)
	if a != b {
		t.Errorf("the same seed gives\n%s and\n%s", a, b)
	}
	r := decode[map[string]any](t, a)
	if r["violations"] != 0.0 || r["nodes"] != 1.0 || r["seed"] != 9.0 || r["ready_queue_hit_percent"] == nil {
		t.Errorf("got %v", r)
	}
}

func TestSimulateRefusesWhatItCannotRun(t *testing.T) {
	home(t)
	for flag, values := range map[string][]string{
		"--nodes": {"0", "-1", "10001"}, "--hours": {"0", "-1", "NaN", "1e9"}, "--scenario": {"", "none"},
	} {
		for _, value := range values {
			if _, err := cli(t, "simulate", flag, value); err == nil {
				t.Errorf("%s %q was accepted", flag, value)
			}
		}
	}
}

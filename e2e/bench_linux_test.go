package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchMeasuresAndLeavesNothing runs two groups of the benchmark for real,
// with few samples: a gate must find those too few.
func TestBenchMeasuresAndLeavesNothing(t *testing.T) {
	if os.Getenv(binEnv) == "" {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	for _, sub := range []string{"state", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := takeCensus(t, dir)
	page := filepath.Join(dir, "bench.html")
	cmd := exec.Command(os.Getenv(binEnv), "bench", "--quick", "--only", "warm,queue", "-n", "2", "--checkouts", "2",
		"--gate", "--json", "--html", page, "--state-dir", filepath.Join(dir, "state"), "--cache-dir", filepath.Join(dir, "cache"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "benchmark gate failed") {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var report struct {
		Host   struct{ Driver string }
		Groups []struct {
			Name, Error string
			Facts       []string
			Rows        []struct{ Ours struct{ Count int } }
		}
		Verdicts []struct{ Result, Objective string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Host.Driver == "" || len(report.Groups) != 2 {
		t.Fatalf("%+v", report)
	}
	for _, g := range report.Groups {
		if g.Error != "" || len(g.Rows) == 0 || g.Rows[0].Ours.Count == 0 {
			t.Errorf("%+v", g)
		}
	}
	if facts := strings.Join(report.Groups[1].Facts, "\n"); !strings.Contains(facts, "each key was served in order of arrival") || !strings.Contains(facts, "2 of 2") {
		t.Errorf("queue: %s", facts)
	}
	results := map[string]int{}
	for _, v := range report.Verdicts {
		results[v.Result]++
	}
	if results["insufficient samples"]+results["missed"] == 0 || results["not chosen"] == 0 || results["not applicable"] == 0 {
		t.Errorf("%v", results)
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("<svg")) {
		t.Errorf("the page: %d bytes, %v", len(html), err)
	}
	// What a later run uses again may stay: the agent, a lock, empty directories.
	for kind, kept := range map[string]int{"files in cache": 2, "files in state": 1, "files in run": 1} {
		before[kind] += kept
	}
	before.await(t, dir)
}

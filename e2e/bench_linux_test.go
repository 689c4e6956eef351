package e2e

import (
	"bufio"
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

// TestACompareOfBuildsReportsAndLeavesNothingWhenItIsInterrupted compares the program with
// itself until a round is complete.
func TestACompareOfBuildsReportsAndLeavesNothingWhenItIsInterrupted(t *testing.T) {
	bin := os.Getenv(binEnv)
	if bin == "" {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	for _, sub := range []string{"state", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run, err := os.MkdirTemp("/run", "compare-") // Sockets have short paths.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	before := takeCensus(t, dir)
	cmd := exec.Command(bin, "bench", "compare", bin, "--rounds", "100000", "--json",
		"--state-dir", filepath.Join(dir, "state"), "--cache-dir", filepath.Join(dir, "cache"), "--run-dir", run)
	var stdout, lines bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	for scan := bufio.NewScanner(stderr); scan.Scan(); {
		line := scan.Text()
		lines.WriteString(line + "\n")
		if line == "round 1 of 100000" {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	if err == nil || !strings.Contains(lines.String(), "stopped by interrupt") {
		t.Fatalf("%v\n%s", err, &lines)
	}
	type figures struct{ N int }
	type pair struct {
		Base, New *figures
		Ratio     *struct{ Value float64 }
	}
	var report struct {
		Rounds int
		Rows   []struct {
			Name            string
			Wall, Processor pair
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s", err, &lines)
	}
	if report.Rounds < 1 || len(report.Rows) < 10 {
		t.Errorf("%+v", report)
	}
	for _, row := range report.Rows {
		for _, p := range []pair{row.Wall, row.Processor} {
			if p.Base == nil || p.New == nil || p.Base.N != report.Rounds || p.New.N != report.Rounds || p.Ratio == nil || p.Ratio.Value <= 0 {
				t.Errorf("%+v", row)
			}
		}
	}
	before["files in state"]++ // a lock
	before.await(t, dir)
}

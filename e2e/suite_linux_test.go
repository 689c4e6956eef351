package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// suiteTimeout ends an SDK that hangs; a suite takes well under a minute, and more than four on a machine that does much else.
	suiteTimeout = 15 * time.Minute
	// recipeTimeout is that of the clients of ready recipes, which wait for programs to open their windows.
	recipeTimeout = 15 * time.Minute
	// suitesAtOnce share the server as clients do that know nothing of each other.
	suitesAtOnce = 2
)

// result is one line that a reporter (js/reporter.mjs, python/conftest.py)
// writes to file descriptor 3.
type result struct {
	Name    string  `json:"name"`
	Status  string  `json:"status"` // "pass", "fail" or "skip"
	Seconds float64 `json:"seconds"`
	Message string  `json:"message"` // Why it failed or was skipped.
}

func TestSDK(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := os.Getenv(dirEnv)
	makeNames(t).trusted(t)
	before := takeStock(t)
	srv := startServer(t, dir)
	ids := filepath.Join(dir, "sandbox-ids")
	if err := os.WriteFile(ids, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(srv.sdkEnv, "E2E_IDS="+ids)
	var group errgroup.Group
	group.SetLimit(suitesAtOnce)
	for _, s := range suites {
		group.Go(func() error {
			t.Run(s.name(), func(t *testing.T) {
				s.run(t, env, s.all())
				if t.Failed() {
					t.Log(srv.logTail())
				}
			})
			return nil
		})
	}
	_ = group.Wait()
	checkSandboxesGone(t, dir, ids)
	srv.stop(t)
	before.compare(t)
}

// run lets the SDK's own test runner work through the cases of the files and makes a
// sub-test of each result as it comes.
func (s suite) run(t *testing.T, sdkEnv, files []string) {
	limit := suiteTimeout
	if os.Getenv(debsEnv) != "" {
		limit = recipeTimeout
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	sdkDir, err := filepath.Abs(s.dir())
	if err != nil {
		t.Fatal(err)
	}
	argv := s.command(files)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(slices.Concat(os.Environ(), sdkEnv), "E2E_SDK_DIR="+sdkDir, "E2E_SDK_VERSION="+s.version[strings.LastIndexByte(s.version, '-')+1:],
		"PYTHONDONTWRITEBYTECODE=1", "HOME="+t.TempDir())
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	reports, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reports.Close()
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Start(); err != nil {
		w.Close()
		t.Fatal(err)
	}
	w.Close()
	failed, total, decodeErr := report(t, reports)
	waitErr := cmd.Wait()
	switch {
	case decodeErr != nil:
		t.Errorf("unreadable report: %v", decodeErr)
	case total == 0:
		t.Errorf("no case ran")
	case ctx.Err() != nil:
		t.Errorf("it did not end within %v", limit)
	case waitErr != nil && failed == 0:
		t.Errorf("the runner failed although no case did: %v", waitErr)
	case waitErr == nil && failed > 0:
		t.Errorf("%d cases failed but the runner did not", failed)
	}
	if t.Failed() {
		text, _ := os.ReadFile(output.Name())
		t.Logf("output of %s:\n%s", s.name(), text)
	}
}

// all are the files of the whole suite.
func (s suite) all() []string {
	if s.kind == "pypi" {
		return []string{"python"}
	}
	return []string{"js/all.mjs"}
}

func (s suite) command(files []string) []string {
	filter := os.Getenv(caseEnv)
	if s.kind == "pypi" {
		argv := []string{filepath.Join(s.dir(), ".venv/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=python"}
		if filter != "" {
			argv = append(argv, "-k", filter)
		}
		return append(argv, files...)
	}
	argv := []string{"node", "--test-reporter=./js/reporter.mjs", "--test-reporter-destination=/dev/fd/3"}
	if filter != "" {
		argv = append(argv, "--test-name-pattern="+filter)
	}
	return append(argv, files...)
}

// report makes a sub-test of every line of r.
func report(t *testing.T, r io.Reader) (failed, total int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var res result
		if err := json.Unmarshal(lines.Bytes(), &res); err != nil {
			return failed, total, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		total++
		if res.Status != "pass" && res.Status != "skip" {
			failed++
		}
		t.Run(res.Name, func(t *testing.T) {
			switch res.Status {
			case "pass":
				t.Logf("%.2fs", res.Seconds)
			case "skip":
				t.Skip(res.Message)
			default:
				t.Errorf("%.2fs: %s", res.Seconds, res.Message)
			}
		})
	}
	return failed, total, lines.Err()
}

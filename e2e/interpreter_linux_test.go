package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// interpreters are the pinned SDKs of the code interpreter: the newest of each registry, and an older one.
var interpreters = []suite{
	{"npm", "code-interpreter-2.8.0"},
	{"npm", "code-interpreter-2.7.0"},
	{"pypi", "code-interpreter-2.11.5"},
	{"pypi", "code-interpreter-2.9.2"},
}

const (
	// wheelsDir has the packages of the template, for a build that reaches no registry.
	wheelsDir = "wheels"
	// hostPython is the one that the template base has.
	hostPython = "/usr/bin/python3"
	recipesDir = "../templates"
	// interpreterReady is the ready command that the recipe's README gives.
	interpreterReady = "curl -sf localhost:49999/health"
)

// downloadWheels gets the packages of the template, as wheels for the host's Python, with the pip of an SDK.
func downloadWheels() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	version, err := exec.CommandContext(ctx, hostPython, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		return fmt.Errorf("%s, which the template base has: %w", hostPython, err)
	}
	want, err := os.ReadFile(filepath.Join(wheelsDir, "requirements.txt"))
	if err != nil {
		return err
	}
	want = append(want, version...)
	marker := filepath.Join(wheelsDir, ".wheels", ".installed")
	have, err := os.ReadFile(marker)
	if err == nil && bytes.Equal(have, want) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(marker)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(interpreters[2].dir(), ".venv/bin/python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
		"--only-binary=:all:", "--python-version", strings.TrimSpace(string(version)), "-d", filepath.Dir(marker), "-r", filepath.Join(wheelsDir, "requirements.txt"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download wheels: %w\n%s", err, out)
	}
	return os.WriteFile(marker, want, 0o644)
}

// wheels are those that downloadWheels got.
func wheels(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(wheelsDir, ".wheels", "*.whl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no wheels: %v", err)
	}
	return files
}

// TestCodeInterpreter builds the template without a registry, and runs the unmodified SDKs of the code interpreter against it.
func TestCodeInterpreter(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	before := takeStock(t)
	srv := startServer(t, dir)
	ids := filepath.Join(dir, "sandbox-ids")
	if err := os.WriteFile(ids, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	srv.must(t, "template", "build", recipe(t, "code-interpreter-v1", wheelsDir, wheels(t)), "--name", "code-interpreter-v1", "--memory", "1024", "--ready", interpreterReady)
	t.Logf("the template was built in %.0f s", time.Since(begin).Seconds())
	files := map[string]string{"npm": "js/interpreter.mjs", "pypi": "python/interpreter.py"}
	env := append(srv.sdkEnv, "E2E_IDS="+ids)
	var group errgroup.Group
	group.SetLimit(suitesAtOnce)
	for _, s := range interpreters {
		group.Go(func() error {
			t.Run(s.name(), func(t *testing.T) {
				s.run(t, env, []string{files[s.kind]})
				if t.Failed() {
					t.Log(srv.logTail())
				}
			})
			return nil
		})
	}
	_ = group.Wait()
	srv.must(t, "template", "rm", "code-interpreter-v1")
	checkSandboxesGone(t, dir, ids)
	srv.stop(t)
	before.compare(t)
}

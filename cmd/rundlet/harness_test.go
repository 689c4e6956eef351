package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/layout"
)

// home gives the command line private directories, and no server.
func home(t *testing.T) layout.Layout {
	t.Helper()
	root := t.TempDir()
	l := layout.Layout{StateDir: filepath.Join(root, "state"), CacheDir: filepath.Join(root, "cache"), RunDir: filepath.Join(root, "run")}
	t.Setenv(layout.EnvStateDir, l.StateDir)
	t.Setenv(layout.EnvCacheDir, l.CacheDir)
	t.Setenv(layout.EnvRunDir, l.RunDir)
	t.Setenv("E2B_API_URL", "")
	t.Setenv("E2B_API_KEY", "")
	return l
}

// cli runs a command line and returns its standard output.
func cli(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(t.Output())
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cli(t, args...)
	if err != nil {
		t.Fatalf("rundlet %q: %v", args, err)
	}
	return out
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// exit runs a command line as main does and returns its exit code and what it
// wrote to standard error.
func exit(t *testing.T, args ...string) (int, string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old := os.Stderr
	os.Stderr = f
	defer func() { os.Stderr = old }()
	code := run(args)
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(b)
}

package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parseLog returns what flags say about the log.
func parseLog(t *testing.T, args ...string) *logOptions {
	t.Helper()
	var l logOptions
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	l.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &l
}

func TestTheLogFileIsRotatedAndOneGenerationIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var stderr bytes.Buffer
	log, end, err := parseLog(t, "--log-file", path, "--log-max-bytes", "10000").open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		log.Info("line", "text", strings.Repeat("x", 50))
	}
	end()
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2 || files[1] != path+".1" {
		t.Errorf("files %v, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Size() > 10000 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("on standard error: %s", stderr.String())
	}
}

func TestTheLogGoesToStandardErrorByDefault(t *testing.T) {
	var stderr bytes.Buffer
	l := parseLog(t, "--log-level", "warn", "--log-json")
	if l.rotation.MaxBytes != 16<<20 || l.rotation.Generations != 1 {
		t.Errorf("rotation %+v", l.rotation)
	}
	log, end, err := l.open(&stderr)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not this")
	log.Log(t.Context(), slog.LevelWarn, "this")
	end()
	if got := stderr.String(); !strings.HasPrefix(got, "{") || !strings.Contains(got, `"msg":"this"`) || strings.Contains(got, "not this") {
		t.Errorf("got %q", got)
	}
}

func TestALogFileThatCannotBeOpenedIsAnError(t *testing.T) {
	for _, args := range [][]string{
		{"--log-file", filepath.Join(t.TempDir(), "missing", "log")},
		{"--log-file", filepath.Join(t.TempDir(), "log"), "--log-max-bytes", "0"},
	} {
		if _, _, err := parseLog(t, args...).open(&bytes.Buffer{}); err == nil || !strings.HasPrefix(err.Error(), "--log-file: ") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

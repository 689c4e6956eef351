package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An error quotes what artifacts, registries, servers and guests have said.
func TestErrorsDoNotSteerTheTerminal(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	former := os.Stderr
	os.Stderr = out
	code := run([]string{"df", "--state-dir", filepath.Join(out.Name(), "a\x1b]0;title\a\u202eb"), "--cache-dir", t.TempDir(), "--run-dir", t.TempDir()})
	os.Stderr = former
	text, err := os.ReadFile(out.Name())
	if err != nil || code != 1 || !strings.Contains(string(text), "/ab") || strings.ContainsAny(string(text), "\x1b\a\u202e") {
		t.Errorf("%d, %q, %v", code, text, err)
	}
}

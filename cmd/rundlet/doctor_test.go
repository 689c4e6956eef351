package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/doctor"
)

// TestTheDoctorTellsOfDirectoriesAndTheRest has a state directory that is
// somebody else's, as all are to a user other than root beside a server of root.
func TestTheDoctorTellsOfDirectoriesAndTheRest(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "theirs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := newRoot()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"doctor", "--json", "--state-dir", state, "--cache-dir", filepath.Join(dir, "cache"), "--run-dir", filepath.Join(dir, "run")})
	if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, command.ExitError(1)) {
		t.Errorf("got %v, want the exit code 1", err)
	}
	var found struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	status := map[string]doctor.Status{}
	for _, f := range found.Findings {
		status[f.Name] = f.Status
	}
	if status["directories"] != doctor.Fail || status["platform"] == "" || status["privilege"] == "" {
		t.Errorf("findings: %v", status)
	}
}

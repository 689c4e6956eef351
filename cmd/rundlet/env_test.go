package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/node/statedir"
)

func TestEnv(t *testing.T) {
	l := home(t)
	lines := strings.Split(strings.TrimSpace(must(t, "env")), "\n")
	for i, prefix := range []string{"export E2B_API_KEY=e2b_", "export E2B_API_URL=http://127.0.0.1:3000", "export E2B_SANDBOX_URL=http://127.0.0.1:3000"} {
		if len(lines) != 3 || !strings.HasPrefix(lines[i], prefix) {
			t.Fatalf("lines %q", lines)
		}
	}
	// A server leaves its address for those that come later.
	if err := statedir.WriteEndpoint(l, "http://10.1.2.3:4"); err != nil {
		t.Fatal(err)
	}
	got := decode[map[string]string](t, must(t, "--json", "env"))
	if len(got) != 3 || got["E2B_API_URL"] != "http://10.1.2.3:4" || got["E2B_SANDBOX_URL"] != "http://10.1.2.3:4" || !strings.HasSuffix(lines[0], got["E2B_API_KEY"]) {
		t.Errorf("%v", got)
	}
	if err := statedir.WriteEndpoint(l, ""); err != nil {
		t.Fatal(err)
	}
	if url := endpoint(l); url != "http://127.0.0.1:3000" {
		t.Errorf("from an empty file: %q", url)
	}
}

func TestVersion(t *testing.T) {
	if out := must(t, "version"); !strings.HasPrefix(out, "rundlet ") || !strings.Contains(out, "envd "+envd.Version) {
		t.Errorf("%q", out)
	}
	if got := decode[map[string]string](t, must(t, "--json", "version")); got["envd"] != envd.Version || got["version"] != version || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

func TestDoctorJSON(t *testing.T) {
	home(t)
	out, err := cli(t, "--json", "doctor")
	if err != nil && !errors.Is(err, exitError(1)) {
		t.Fatal(err)
	}
	if !json.Valid([]byte(out)) || len(out) < 10 {
		t.Errorf("%q", out)
	}
}

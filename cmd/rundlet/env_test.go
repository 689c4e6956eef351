package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
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
	if err := statedir.WriteEndpoint(l, statedir.Endpoint{URL: "http://10.1.2.3:4"}); err != nil {
		t.Fatal(err)
	}
	got := decode[map[string]string](t, must(t, "--json", "env"))
	if len(got) != 3 || got["E2B_API_URL"] != "http://10.1.2.3:4" || got["E2B_SANDBOX_URL"] != "http://10.1.2.3:4" || !strings.HasSuffix(lines[0], got["E2B_API_KEY"]) {
		t.Errorf("%v", got)
	}
	if err := statedir.WriteEndpoint(l, statedir.Endpoint{}); err != nil {
		t.Fatal(err)
	}
	if url := command.Endpoint(l).URL; url != "http://127.0.0.1:3000" {
		t.Errorf("from an empty file: %q", url)
	}
}

// With certificates the domain is enough, and the files that make clients trust it.
func TestEnvWithTLS(t *testing.T) {
	l := home(t)
	must(t, "env") // Makes the directories.
	e := statedir.Endpoint{URL: "https://api.e2b.localhost:8443", Domain: "e2b.localhost:8443", Address: "127.0.0.1:8443",
		Root: "/it's a/ca.pem", Bundle: "/state/bundle.pem"}
	if err := statedir.WriteEndpoint(l, e); err != nil {
		t.Fatal(err)
	}
	// A shell that has the variables of an earlier daemon.
	sh := exec.CommandContext(t.Context(), "sh", "-c", must(t, "env")+`printf '%s\n' "$E2B_DOMAIN" "$NODE_EXTRA_CA_CERTS" "$SSL_CERT_FILE" "${E2B_API_URL-none}"`)
	sh.Env = append(os.Environ(), "E2B_API_URL=http://old")
	if out, err := sh.Output(); err != nil || string(out) != "e2b.localhost:8443\n/it's a/ca.pem\n/state/bundle.pem\nnone\n" {
		t.Errorf("%q, %v", out, err)
	}
	got := decode[map[string]string](t, must(t, "--json", "env"))
	if got["E2B_DOMAIN"] != e.Domain || got["E2B_API_URL"] != "" || got["E2B_API_KEY"] == "" {
		t.Errorf("%v", got)
	}
	// Every client trusts a certificate from files, or does not.
	e.Root, e.Bundle = "", ""
	if err := statedir.WriteEndpoint(l, e); err != nil {
		t.Fatal(err)
	}
	if got := decode[map[string]string](t, must(t, "--json", "env")); len(got) != 2 {
		t.Errorf("%v", got)
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
	if err != nil && !errors.Is(err, command.ExitError(1)) {
		t.Fatal(err)
	}
	if !json.Valid([]byte(out)) || len(out) < 10 {
		t.Errorf("%q", out)
	}
}

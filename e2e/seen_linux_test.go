package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// accesses are the lines of an access log.
func accesses(t *testing.T, path string) (out []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, one)
	}
	return out
}

// A policy is learned from what a real program does, and put in force by the command that is proposed. Meanwhile the requests
// of clients are logged, into a file that is renamed.
func TestWhatASandboxDoesIsSeen(t *testing.T) {
	log := filepath.Join(dirOfUser(t), "access.log")
	makeNames(t)
	srv, api, _ := newServer(t, "--access-log", log)
	ctx := t.Context()
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute, Allow: []string{"*"}, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a host is reached", func() bool { return fetch(t, api, sb, allowedHost) == "internet" })
	fetch(t, api, sb, internetAddr)
	traffic, err := api.Traffic(ctx, sb.ID)
	if err != nil {
		t.Fatal(err)
	}
	if traffic.BytesOut == 0 || traffic.BytesIn == 0 || traffic.PacketsOut == 0 || traffic.PacketsIn == 0 || traffic.Connections == 0 {
		t.Errorf("counters: %+v", traffic)
	}

	// As logrotate does.
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := srv.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the access log is made again", func() bool { _, err := os.Stat(log); return err == nil })

	learned := user.commandContext(ctx, os.Getenv(binEnv), "sandbox", "network", sb.ID, "--learn")
	learned.Env = srv.cmd.Env
	out, err := learned.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	proposal, _, _ := strings.Cut(string(out), "\n")
	if want := "rundlet sandbox network " + sb.ID + " --deny 0.0.0.0/0 --allow " + allowedHost; proposal != want || !strings.Contains(string(out), internetAddr+":80") {
		t.Fatalf("%s\nwant %s", out, want)
	}
	apply := user.commandContext(ctx, os.Getenv(binEnv), strings.Fields(proposal)[1:]...)
	apply.Env = srv.cmd.Env
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out := fetch(t, api, sb, allowedHost); out != "internet" {
		t.Errorf("what was learned gives %q", out)
	}
	if out := fetch(t, api, sb, forbiddenHost); !strings.HasPrefix(out, "failed") {
		t.Errorf("what was not gives %q", out)
	}
	if err := api.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	srv.stop(t)

	logged := func(path string, want map[string]any) bool {
		return slices.ContainsFunc(accesses(t, path), func(a map[string]any) bool {
			for key, value := range want {
				if a[key] != value {
					return false
				}
			}
			return a["time"] != nil && a["peer"] != nil
		})
	}
	if !logged(log+".1", map[string]any{"method": "POST", "kind": "api", "path": "/v2/sandboxes", "status": 201.0}) {
		t.Errorf("the create is not logged")
	}
	agent := map[string]any{"method": "POST", "kind": "agent", "path": "/process.Process/Start", "sandbox_id": sb.ID, "port": 49983.0, "status": 200.0}
	if !logged(log+".1", agent) || !logged(log, agent) {
		t.Errorf("commands are not logged")
	}
	if !logged(log, map[string]any{"method": "DELETE", "kind": "api", "path": "/sandboxes/" + sb.ID, "status": 204.0}) {
		t.Errorf("the kill is not logged")
	}
	key := strings.TrimPrefix(srv.sdkEnv[0], "E2B_API_KEY=")
	for _, path := range []string{log, log + ".1"} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		if text, _ := os.ReadFile(path); strings.Contains(string(text), key) || strings.Contains(string(text), "e2b_") {
			t.Errorf("%s has a key", path)
		}
	}
}

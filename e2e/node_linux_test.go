package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// newServer starts a server with private directories, whose base is
// prepared and whose first sandbox came and went, so that what a server keeps
// for good is there. The flags come after those of cold.
func newServer(t *testing.T, flags ...string) (*server, client.API, string) {
	t.Helper()
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "node-")
	if err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, dir, append(slices.Clone(cold), flags...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(srv.logTail())
		}
	})
	api := srv.api()
	sb, err := api.Create(t.Context(), "base", time.Minute)
	if err == nil {
		err = api.Kill(t.Context(), sb.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return srv, api, dir
}

func (s *server) api() client.API {
	api := client.API{URL: apiURL}
	for _, v := range s.sdkEnv {
		if key, ok := strings.CutPrefix(v, "E2B_API_KEY="); ok {
			api.Key = key
		}
	}
	return api
}

// run runs a shell command in a sandbox and returns its output.
func run(ctx context.Context, api client.API, sb client.Sandbox, command string) (string, error) {
	var out, errs bytes.Buffer
	code, err := api.Agent(sb).Run(ctx, client.Command{
		Args: []string{"/bin/bash", "-c", command}, Stdout: &out, Stderr: &errs,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, errs.String())
	}
	return out.String(), err
}

// each calls f for n sandboxes at once.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// createMany creates n sandboxes at once, each with a file that names it.
func createMany(t *testing.T, api client.API, n int) []client.Sandbox {
	t.Helper()
	all := make([]client.Sandbox, n)
	each(n, func(i int) {
		sb, err := api.Create(t.Context(), "base", 10*time.Minute)
		if err != nil {
			t.Errorf("create %d: %v", i, err)
			return
		}
		all[i] = sb
		if _, err := run(t.Context(), api, sb, "echo "+sb.ID+" > ~/name"); err != nil {
			t.Errorf("write in %s: %v", sb.ID, err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func killAll(t *testing.T, api client.API, all []client.Sandbox) {
	t.Helper()
	each(len(all), func(i int) {
		if err := api.Kill(t.Context(), all[i].ID); err != nil {
			t.Errorf("kill %s: %v", all[i].ID, err)
		}
	})
}

func TestFiftyAtOnceComeAnswerAndGoWithoutATrace(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	begin := time.Now()
	all := createMany(t, api, 50)
	t.Logf("50 sandboxes answer after %v", time.Since(begin))
	each(len(all), func(i int) {
		if out, err := run(t.Context(), api, all[i], "cat ~/name; hostname"); err != nil || out != all[i].ID+"\n"+all[i].ID+"\n" {
			t.Errorf("%s answers %q, %v", all[i].ID, out, err)
		}
	})
	if list, err := api.List(t.Context()); err != nil || len(list) != 50 {
		t.Errorf("%d are listed, %v", len(list), err)
	}
	killAll(t, api, all)
	if list, err := api.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d are listed after the kill, %v", len(list), err)
	}
	before.await(t, dir)
	srv.stop(t)
}

// crash ends the daemon as kill -9 does and starts it again.
func (s *server) crash(t *testing.T, dir string) *server {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	return startServer(t, dir, cold...)
}

func TestACrashedDaemonFindsItsSandboxesAgain(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	all := createMany(t, api, 10)
	srv = srv.crash(t, dir)

	killed := killedReasons(t, dir)
	for _, sb := range all {
		if reason, ok := killed[sb.ID]; ok {
			if reason == "" {
				t.Errorf("%s was ended without a reason", sb.ID)
			}
			t.Errorf("%s was lost although its machine ran: %s", sb.ID, reason)
			continue
		}
		if out, err := run(t.Context(), api, sb, "cat ~/name"); err != nil || out != sb.ID+"\n" {
			t.Errorf("%s answers %q, %v", sb.ID, out, err)
		}
	}
	killAll(t, api, all)
	before.await(t, dir)
	srv.stop(t)
}

func TestACrashInTheMiddleOfCreatesLeavesNothing(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond} {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { api.Create(t.Context(), "base", 10*time.Minute) }) // most of them fail: the daemon dies
		}
		<-time.After(after)
		srv = srv.crash(t, dir)
		wg.Wait()
		list, err := api.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, listed := range list {
			sb, err := api.Get(t.Context(), listed.ID) // with its access token
			if err != nil {
				t.Fatal(err)
			}
			if out, err := run(t.Context(), api, sb, "echo alive"); err != nil || out != "alive\n" {
				t.Errorf("%s is listed but answers %q, %v", sb.ID, out, err)
			}
		}
		for id, reason := range killedReasons(t, dir) {
			if reason == "" {
				t.Errorf("%s was ended without a reason", id)
			}
		}
		killAll(t, api, list)
		before.await(t, dir)
	}
	srv.stop(t)
}

// killedReasons asks the command line, as an operator would.
func killedReasons(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := user.command(os.Getenv(binEnv), "sandbox", "ls", "--killed", "--json", "--state-dir", filepath.Join(dir, "state"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sandbox ls --killed: %v", err)
	}
	var rows []struct{ ID, Reason string }
	if err := json.Unmarshal(out, &rows); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, r := range rows {
		reasons[r.ID] = r.Reason
	}
	return reasons
}

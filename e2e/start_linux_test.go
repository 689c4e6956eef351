package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/store"
)

// sentry finds the process of a sandbox's machine in the daemon's records.
func sentry(t *testing.T, id string) int {
	t.Helper()
	pid := 0
	err := filepath.WalkDir("/run/rundlet", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" || filepath.Base(filepath.Dir(path)) != "machines" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var r struct {
			ID         string
			SandboxPID int `json:"sandbox_pid"`
		}
		if err := json.Unmarshal(data, &r); err == nil && r.ID == id {
			pid = r.SandboxPID
		}
		return nil
	})
	if err != nil || pid == 0 {
		t.Fatalf("no process of %s: %v", id, err)
	}
	return pid
}

// answers asks for a path without waiting for anything, and returns the status.
func answers(api client.API, path string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, api.URL+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-API-Key", api.Key)
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// starting starts a daemon over what is there, and returns how long it took to
// its first healthy answer, and to its first one to a request.
func starting(t *testing.T, dir string, key string, flags []string) (srv *server, healthy, ready time.Duration) {
	t.Helper()
	begin := time.Now()
	srv = launchServer(t, dir, nil, flags...)
	api := client.API{URL: apiURL, Key: key}
	awaitFor(t, readyTimeout, func() ([]string, error) {
		status, err := answers(api, "/health")
		if err == nil && status == http.StatusOK {
			healthy = time.Since(begin)
			return nil, nil
		}
		return nil, errors.Join(err, fmt.Errorf("/health: %d", status))
	})
	awaitFor(t, readyTimeout, func() ([]string, error) {
		status, err := answers(api, "/v2/sandboxes")
		if err == nil && status == http.StatusOK {
			ready = time.Since(begin)
			return nil, nil
		}
		return nil, errors.Join(err, fmt.Errorf("/v2/sandboxes: %d", status))
	})
	return srv, healthy, ready
}

// TestAStartServesAllButTheBadOnesAndReportsThese has, of 20 sandboxes (300 in
// the long form), three whose machines do not answer, and a row of a newer
// version. They hold up no other.
func TestAStartServesAllButTheBadOnesAndReportsThese(t *testing.T) {
	n := 20
	if *soak {
		n = 300
	}
	more := []string{"--memory-overcommit=20", "--cpu-overcommit=1000", "--heartbeat=0"}
	flags := append(slices.Clone(cold), more...)
	srv, api, dir := newServer(t, more...)
	before := takeCensus(t, dir)
	var all []client.Sandbox
	for len(all) < n {
		all = append(all, createMany(t, api, min(20, n-len(all)))...)
	}
	end := func() {
		if err := srv.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-srv.exited
	}
	end()
	srv, healthy, normal := starting(t, dir, api.Key, flags)
	end()

	bad, good := all[:3], all[3:]
	pids := map[string]int{}
	for _, sb := range bad {
		pids[sb.ID] = sentry(t, sb.ID)
		if err := syscall.Kill(pids[sb.ID], syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	addNewerRow(t, dir, good[0].ID)
	srv, badHealthy, ready := starting(t, dir, api.Key, flags)
	record(t, "start", map[string]any{"sandboxes": n, "healthy_s": badHealthy.Seconds(), "ready_s": ready.Seconds(),
		"normal_healthy_s": healthy.Seconds(), "normal_ready_s": normal.Seconds()})
	// It serves although they do not answer. How long it waits for them is shown with
	// a clock that no other process moves: runtime/recover_test.go.
	if patience := time.Minute; ready > normal+patience {
		t.Errorf("it serves after %v; without the bad ones after %v", ready, normal)
	}
	if badHealthy > 30*time.Second && badHealthy > 2*healthy {
		t.Errorf("it is healthy after %v; without the bad ones after %v", badHealthy, healthy)
	}
	for i := range good { // One after the other: their number is not what this is about.
		if out, err := run(t.Context(), api, good[i], "cat ~/name"); err != nil || out != good[i].ID+"\n" {
			t.Errorf("%s answers %q, %v", good[i].ID, out, err)
		}
	}
	for _, sb := range bad {
		if status, err := answers(api, "/sandboxes/"+sb.ID); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("one that does not answer: %d, %v", status, err)
		}
	}
	if got, err := figure(t.Context(), api, "unrecovered"); err != nil || got != 4 {
		t.Errorf("%v are reported, %v", got, err)
	}
	if log := srv.troubles("inewer"); !strings.Contains(log, "inewer") {
		t.Errorf("the row of a newer version is not named:\n%s", log)
	}

	if err := api.Kill(t.Context(), bad[0].ID); err != nil {
		t.Errorf("kill of one that does not answer: %v", err)
	}
	await(t, func() ([]string, error) { // Its new parent has yet to notice it.
		if err := syscall.Kill(pids[bad[0].ID], 0); !errors.Is(err, syscall.ESRCH) {
			return []string{"the process of one that was killed is still there"}, nil
		}
		return nil, nil
	})
	for _, sb := range bad[1:] {
		if err := syscall.Kill(pids[sb.ID], syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	awaitFigure(t, api, "unrecovered", 1)
	for _, sb := range bad[1:] {
		if out, err := run(t.Context(), api, sb, "cat ~/name"); err != nil || out != sb.ID+"\n" {
			t.Errorf("%s, which goes on, answers %q, %v", sb.ID, out, err)
		}
	}
	killAll(t, api, all[1:])
	before.await(t, dir)
	srv.stop(t)
}

// addNewerRow adds a row as a later version of the program could have written.
func addNewerRow(t *testing.T, dir, like string) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, "state", "rundlet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row, err := db.Sandboxes.Get(t.Context(), like)
	if err != nil {
		t.Fatal(err)
	}
	row.ID, row.State, row.SlotID, row.Version = "inewer", "hibernating", "", 0
	if err := db.Sandboxes.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// diskUsage is what "rundlet df" says of a kind.
type diskUsage struct {
	Kind               string
	Count              int
	Bytes, Reclaimable int64
}

func (s *server) df(t *testing.T) map[string]diskUsage {
	t.Helper()
	out, _ := s.must(t, "df", "--json")
	var r struct {
		Usage []struct {
			Kind        string `json:"kind"`
			Count       int    `json:"count"`
			Bytes       int64  `json:"bytes"`
			Reclaimable int64  `json:"reclaimable_bytes"`
		} `json:"usage"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	all := map[string]diskUsage{}
	for _, u := range r.Usage {
		all[u.Kind] = diskUsage(u)
	}
	return all
}

// prune runs a prune, and returns how many objects of each kind it removed.
func (s *server) prune(t *testing.T, args ...string) map[string]int {
	t.Helper()
	out, _ := s.must(t, append([]string{"prune", "--json"}, args...)...)
	var r struct {
		Pruned []struct {
			Kind  string
			Count int
			Bytes int64
		}
		Bytes int64
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	all, sum := map[string]int{}, int64(0)
	for _, p := range r.Pruned {
		all[p.Kind] = p.Count
		sum += p.Bytes
	}
	if sum != r.Bytes || (sum > 0) != (len(all) > 0) {
		t.Errorf("%s", out)
	}
	return all
}

// TestPruneFreesWhatNothingNeeds prunes beside a daemon, while builds, creates and forks go on, and after prunes that were killed.
func TestPruneFreesWhatNothingNeeds(t *testing.T) {
	srv, api, dir := newServer(t)
	build := func(name string, n int) error {
		r := sandbox.Recipe{FromTemplate: "base"}
		for i := range n {
			r.Steps = append(r.Steps, sandbox.RecipeStep{Type: "RUN", Args: []string{fmt.Sprintf("echo %d >> /tmp/steps", i)}})
		}
		_, err := api.Build(t.Context(), client.BuildOptions{TemplateRequest: client.TemplateRequest{Name: name}, Recipe: r})
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(build("mine", 3))
	sb, err := api.Create(t.Context(), "mine", 10*time.Minute)
	must(err)
	paused, err := api.Create(t.Context(), "mine", 10*time.Minute)
	must(err)
	must(api.Pause(t.Context(), paused.ID, true))
	srv.must(t, "sandbox", "snapshot", sb.ID, "--name", "saved")
	before := srv.df(t)
	if l := before["layers"]; l.Count != 3 || l.Reclaimable == 0 || before["templates"].Count != 1 || before["paused sandboxes"].Count != 1 || before["snapshots"].Count != 1 || before["running sandboxes"].Bytes == 0 {
		t.Errorf("%+v", before)
	}
	if removed := srv.prune(t); len(removed) > 0 {
		t.Errorf("without a flag: %v", removed)
	}
	if removed := srv.prune(t, "--all", "--dry-run"); removed["layers"] != 3 || srv.df(t)["layers"].Count != 3 {
		t.Errorf("dry: %v", removed)
	}

	// Killed behind a step, it leaves a snapshot without a row, which the next one removes.
	for _, step := range []string{"snapshot.dropped", "snapshot.deleted"} {
		cmd := user.commandContext(t.Context(), os.Getenv(binEnv), "prune", "--all")
		cmd.Env = append(slices.Clone(srv.cmd.Env), "RUNDLET_FAILPOINT="+step)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "failpoint "+step) {
			t.Fatalf("%s: %v, %s", step, err, out)
		}
	}
	if left := srv.df(t); left["layers"].Count != 1 || left["orphans"].Count != 0 {
		t.Errorf("after two kills: %+v", left)
	}
	if removed := srv.prune(t, "--layers"); removed["layers"] != 1 {
		t.Errorf("after two kills: %v", removed)
	}

	// Prunes beside builds, creates and forks break none of them.
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		runs := 0
		for {
			select {
			case <-stop:
				ended <- runs
				return
			default:
				if out, errs, code := srv.cli(t, "prune", "--all"); code != 0 {
					t.Errorf("exit %d: %s%s", code, out, errs)
				}
				runs++
			}
		}
	}()
	for round := range 4 {
		must(build("mine", 3+round%2))
		made, err := api.Create(t.Context(), "mine", time.Minute)
		must(err)
		children, err := api.Fork(t.Context(), made.ID, 2, time.Minute)
		must(err)
		ids := []string{made.ID}
		for _, c := range children {
			ids = append(ids, c.Sandbox.ID)
		}
		for _, id := range ids {
			must(api.Kill(t.Context(), id))
		}
	}
	close(stop)
	t.Logf("%d prunes", <-ended)

	srv = srv.crash(t, dir) // The next start removes what a kill left.
	api = srv.api()
	srv.prune(t, "--all")
	if left := srv.df(t); left["layers"].Count != 0 || left["paused sandboxes"].Count != 1 || left["snapshots"].Count != 1 || left["templates"].Count != 1 || left["orphans"].Count != 0 {
		t.Errorf("in the end: %+v", left)
	}
	for _, name := range []string{"mine", "saved"} {
		made, err := api.Create(t.Context(), name, time.Minute)
		must(err)
		if out, err := run(t.Context(), api, made, "head -1 /tmp/steps"); err != nil || out != "0\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	if _, _, err := api.Connect(t.Context(), paused.ID, time.Minute); err != nil {
		t.Error(err)
	}
	srv.stop(t)
}

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// TestACrashInTheMiddleOfABuildLeavesNothing kills the daemon while a step of a build runs, and while what it starts gets ready. The next daemon says why the build ended, and builds from the last layer.
func TestACrashInTheMiddleOfABuildLeavesNothing(t *testing.T) {
	srv, api, dir := newServer(t)
	run1 := func(command string) sandbox.RecipeStep {
		return sandbox.RecipeStep{Type: "RUN", Args: []string{command}}
	}
	one := run1("date +%s%N > /tmp/one")
	build := func(name string, r sandbox.Recipe) (log string) {
		t.Helper()
		_, err := api.Build(t.Context(), client.BuildOptions{TemplateRequest: client.TemplateRequest{Name: name}, Recipe: r, Progress: func(p client.BuildProgress) {
			if p.Log != nil {
				log += p.Log.Message + "\n"
			}
		}})
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		return log
	}
	ready := sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{one}}
	build("kept", ready)
	build("mine", ready)
	before := takeCensus(t, dir)
	for phase, r := range map[string]sandbox.Recipe{
		"a step":    {FromTemplate: "base", Steps: []sandbox.RecipeStep{one, run1("echo it is here; sleep infinity")}},
		"its start": {FromTemplate: "base", Steps: []sandbox.RecipeStep{one}, StartCmd: "echo it is here; sleep infinity", ReadyCmd: "false"},
	} {
		b, err := api.BeginBuild(t.Context(), client.TemplateRequest{Name: "mine"})
		if err == nil {
			err = api.StartBuild(t.Context(), b, r)
		}
		if err != nil {
			t.Fatalf("%s: %v", phase, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		watched := api.WatchBuild(ctx, b.TemplateID, b.BuildID, func(l client.BuildLog) {
			if l.Message == "it is here" {
				cancel()
			}
		})
		if cancel(); ctx.Err() == context.DeadlineExceeded {
			t.Fatalf("%s: it is never there: %v", phase, watched)
		}
		srv = srv.crash(t, dir)
		api = srv.api()
		s, err := api.BuildStatus(t.Context(), b.TemplateID, b.BuildID, 0, 100)
		if err != nil || s.State != sandbox.BuildFailed || !strings.Contains(s.Reason.Message, "the daemon was restarted") {
			t.Errorf("%s: %+v, %v", phase, s, err)
		}
		before.await(t, dir)
		if log := build("mine", ready); !strings.Contains(log, "CACHED") {
			t.Errorf("%s: the layer is lost:\n%s", phase, log)
		}
		for _, name := range []string{"kept", "mine"} {
			sb, err := api.Create(t.Context(), name, time.Minute)
			if err != nil {
				t.Fatalf("%s: %s: %v", phase, name, err)
			}
			if out, err := run(t.Context(), api, sb, "test -s /tmp/one && echo built"); err != nil || out != "built\n" {
				t.Errorf("%s: %s answers %q, %v", phase, name, out, err)
			}
			if err := api.Kill(t.Context(), sb.ID); err != nil {
				t.Error(err)
			}
		}
		before.await(t, dir)
	}
	for _, name := range []string{"kept", "mine"} {
		if err := api.DeleteTemplate(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	before.await(t, dir)
	srv.stop(t)
}

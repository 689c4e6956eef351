package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
)

// A template is built in a real guest: its steps see each other's files and variables, what it starts runs in its sandboxes, and a
// second build does nothing again. All of it outlives a restart.
func TestATemplateIsBuiltInAGuest(t *testing.T) {
	cfg := config(t)
	n := open(t, cfg)
	defer func() {
		if err := n.Close(node.EndAll); err != nil {
			t.Error(err)
		}
	}()
	recipe := sandbox.Recipe{FromImage: "e2bdev/base", Steps: []sandbox.RecipeStep{
		{Type: "ENV", Args: []string{"GREETING", "hello", "LONGER", "$GREETING to you", "PATH", "/opt/bin:$PATH"}},
		{Type: "RUN", Args: []string{"mkdir -p /opt/bin && printf '#!/bin/sh\necho tool\n' >/opt/bin/tool && chmod +x /opt/bin/tool", "root"}},
		{Type: "USER", Args: []string{"worker"}},
		{Type: "WORKDIR", Args: []string{"/srv/app"}},
		{Type: "RUN", Args: []string{`tool >out; echo "$LONGER" >>out; id -un >>out; date +%s%N >stamp`}},
	}, StartCmd: "sleep 1000 & echo $! >/srv/app/pid; wait", ReadyCmd: "test -s /srv/app/pid"}
	build := func(r sandbox.Recipe) (sandbox.Build, string) {
		t.Helper()
		b, err := n.Runtime.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "mine"})
		if err == nil {
			err = n.Runtime.StartBuild(t.Context(), b.TemplateID, b.ID, r)
		}
		for err == nil && b.State != sandbox.BuildReady && b.State != sandbox.BuildFailed {
			<-time.After(5 * time.Millisecond) // A client polls.
			b, err = n.Runtime.GetBuild(t.Context(), b.TemplateID, b.ID)
		}
		lines, logErr := n.Runtime.BuildLogs(t.Context(), b.TemplateID, b.ID, 0, 1000)
		if err != nil || logErr != nil {
			t.Fatal(err, logErr)
		}
		var text strings.Builder
		for _, l := range lines {
			text.WriteString(l.Time.Format("05.000 ") + l.Step + " " + l.Message + "\n")
		}
		if b.Failure != nil {
			t.Fatalf("%+v\n%s", b.Failure, text.String())
		}
		return b, text.String()
	}
	use := func(command string) string {
		t.Helper()
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "mine", Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		got := output(t, n, sb, command)
		if err := n.Runtime.Kill(t.Context(), sb.ID); err != nil {
			t.Error(err)
		}
		return got
	}
	_, log := build(recipe)
	t.Log(log)
	want := "worker /srv/app hello to you\ntool\nhello to you\nworker\nalive\n"
	look := `echo "$(id -un) $(pwd) $LONGER"; cat out; kill -0 "$(cat pid)" && echo alive`
	if got := use(look); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	stamp := use("cat stamp")
	begin := time.Now()
	_, log = build(recipe)
	t.Logf("again in %v:\n%s", time.Since(begin), log)
	if !strings.Contains(log, "CACHED [builder 5/5]") || use("cat stamp") != stamp {
		t.Errorf("it was done again:\n%s", log)
	}
	sized, err := n.Runtime.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "sized", VCPUs: 1, MemoryMiB: 1500})
	if err == nil {
		err = n.Runtime.StartBuild(t.Context(), sized.TemplateID, sized.ID, sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{
			{Type: "RUN", Args: []string{"grep -q 1536000 /proc/meminfo"}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for sized.State != sandbox.BuildReady {
		<-time.After(5 * time.Millisecond)
		if sized, err = n.Runtime.GetBuild(t.Context(), sized.TemplateID, sized.ID); err != nil || sized.Failure != nil {
			t.Fatal(err, sized.Failure)
		}
	}
	if err := n.Close(node.LeaveAll); err != nil {
		t.Fatal(err)
	}
	n = open(t, cfg)
	if got := use(look); got != want {
		t.Errorf("after a restart: got %q, want %q", got, want)
	}
}

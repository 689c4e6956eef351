package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client/events"
	"github.com/rundlet/rundlet/sandbox"
)

// TestEventsOutliveCrashes: whenever the server is killed, what happened to a sandbox is reported once, in its order, by the list and
// by a command that follows.
func TestEventsOutliveCrashes(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	follow := exec.CommandContext(t.Context(), os.Getenv(binEnv), "events", "--follow", "--json", "--limit", "1")
	follow.Env = append(os.Environ(), srv.sdkEnv...)
	follow.Stderr = os.Stderr
	out, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		follow.Process.Kill()
		follow.Wait()
	})
	defer end()
	followed := make(chan events.Event, 100)
	go func() {
		defer close(followed)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e events.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			followed <- e
		}
	}()
	next := func() events.Event {
		select {
		case e, ok := <-followed:
			if ok {
				return e
			}
			t.Fatal("the command that follows has ended")
		case <-time.After(30 * time.Second):
			t.Fatal("no event comes")
		}
		return events.Event{}
	}
	if e := next(); e.Type != sandbox.EventKilled {
		t.Fatalf("the last event before is %+v", e)
	}

	sb, err := api.Create(t.Context(), "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := []sandbox.EventType{sandbox.EventCreated}
	for _, step := range []struct {
		is sandbox.EventType
		do func() error
	}{
		{sandbox.EventUpdated, func() error { return api.SetTimeout(t.Context(), sb.ID, 20*time.Minute) }},
		{sandbox.EventPaused, func() error { return api.Pause(t.Context(), sb.ID, true) }},
		{sandbox.EventResumed, func() error { _, _, err := api.Connect(t.Context(), sb.ID, 10*time.Minute); return err }},
		{sandbox.EventCheckpointed, func() error {
			snap, err := api.Snapshot(t.Context(), sb.ID, "")
			if err == nil {
				err = api.DeleteSnapshot(t.Context(), snap.ID)
			}
			return err
		}},
		{sandbox.EventKilled, func() error { return api.Kill(t.Context(), sb.ID) }},
	} {
		srv = srv.crash(t, dir)
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.is, err)
		}
		want = append(want, step.is)
	}
	srv = srv.crash(t, dir)

	list, err := events.Newest(t.Context(), api, events.Filter{SandboxID: sb.ID}, 100)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	var got []sandbox.EventType
	executions := map[string]bool{}
	for i, e := range list {
		got = append(got, e.Type)
		executions[e.ExecutionID] = true
		if f := next(); f.ID != e.ID || f.Type != e.Type || f.SandboxID != sb.ID {
			t.Errorf("event %d is %+v, and the command has %+v", i, e, f)
		}
		if e.TemplateID == "" || e.BuildID == "" || e.At.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(got, want) || len(executions) != 2 {
		t.Errorf("%q, want %q; %d executions", got, want, len(executions))
	}
	if last := list[len(list)-1]; !strings.Contains(string(last.Data), `"killed by request"`) {
		t.Errorf("it was killed for %s", last.Data)
	}
	end()
	for e := range followed {
		t.Errorf("and %+v", e)
	}
	before.await(t, dir)
	srv.stop(t)
}

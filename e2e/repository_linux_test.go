package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// A template of a repository is built, restored, and brought to a newer commit. Until it is, it is read and not written.
func TestATemplateOfARepositoryIsKeptFresh(t *testing.T) {
	srv, api, dir := newServer(t)
	o := makeOrigin(t)
	ctx := t.Context()
	first := o.commit("1")
	_, log := srv.must(t, "template", "build", "--name", "app", "--repo", o.url, "--ref", "main",
		"--run", "cp version built && pwd > /tmp/where", "--start", "python3 -m http.server 8000", "--ready", "curl -fsS localhost:8000/version",
		"--warm-up", "curl -fsS localhost:8000/version > /tmp/warm")
	if !strings.Contains(log, "CLONE "+o.url) || !strings.Contains(log, first) {
		t.Errorf("the log has\n%s", log)
	}
	second := o.commit("2")
	before := takeCensus(t, dir)
	create := func(o client.CreateOptions) client.Sandbox {
		t.Helper()
		o.Timeout = 10 * time.Minute
		if o.Template == "" {
			o.Template = "app"
		}
		sb, err := api.CreateWith(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		return sb
	}
	says := func(sb client.Sandbox, want string) {
		t.Helper()
		if out, err := run(ctx, api, sb, "cat version"); err != nil || out != want+"\n" {
			t.Errorf("%s has version %q, %v; want %s: %+v", sb.ID, out, err, want, phase(t, api, sb.ID))
		}
	}

	// The first command of a create waits, and finds the newer commit, in what the build made.
	sb := create(client.CreateOptions{})
	begin := time.Now()
	says(sb, "2")
	t.Logf("the first command took %s", time.Since(begin).Round(time.Millisecond))
	if out, err := run(ctx, api, sb, "git rev-parse HEAD; git branch --show-current; cat built /tmp/where /tmp/warm; git status --porcelain"); err != nil ||
		out != second+"\nmain\n1\n/home/user/app\n1\n?? built\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := run(ctx, api, sb, "curl -fsS localhost:8000/version"); err != nil || out != "2\n" {
		t.Errorf("the server of the template answers %q, %v", out, err)
	}
	if out, _ := srv.must(t, "sandbox", "freshness", sb.ID, "--wait"); !strings.HasPrefix(out, "ready\ncheckout: /home/user/app\nbranch: main\ntarget: origin/main\n") {
		t.Errorf("%s", out)
	}
	// One that asks for it keeps what the template has, and a commit can be asked for.
	says(create(client.CreateOptions{Metadata: map[string]string{"rundlet.sync": "off"}}), "1")
	o.commit("3")
	says(create(client.CreateOptions{Metadata: map[string]string{"rundlet.sync.target": second}}), "2")
	if _, err := api.CreateWith(ctx, client.CreateOptions{Template: "app", Timeout: time.Minute, Metadata: map[string]string{"rundlet.sync.branch": "--upload-pack=/bin/sh"}}); err == nil {
		t.Error("a branch that is an option is accepted")
	}
	// Another branch, which the build did not know.
	o.git(o.work, "checkout", "--quiet", "-b", "feature/x")
	o.commit("x")
	o.git(o.work, "checkout", "--quiet", "main")
	says(create(client.CreateOptions{Metadata: map[string]string{"rundlet.sync.branch": "feature/x"}}), "x")

	// While it is synced, it is read and not written; the write waits.
	release := o.hold()
	defer release()
	waiting := create(client.CreateOptions{})
	o.asked()
	if f := phase(t, api, waiting.ID); f.Phase != sandbox.FreshnessSyncing || f.Reason != "" {
		t.Errorf("%+v", f)
	}
	if code, body := readFile(t, waiting, "/home/user/app/version"); code != http.StatusOK || body != "1\n" {
		t.Errorf("a read is answered %d %q", code, body)
	}
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	_, err := run(soon, api, waiting, "touch /tmp/early")
	if cancel(); err == nil {
		t.Error("a command ran before the sync had ended")
	}
	if code, _ := readFile(t, waiting, "/tmp/early"); code != http.StatusNotFound {
		t.Errorf("a command that was given up ran: %d", code)
	}
	answered := make(chan error, 1)
	go func() {
		out, err := run(ctx, api, waiting, "cat version")
		if err == nil && out != "3\n" {
			err = fmt.Errorf("it answers %q", out)
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a command does not wait: %v", err)
	case <-time.After(time.Second): // It would come at once.
	}

	// A kill, a pause, a fork and a crash of the daemon in the middle.
	killed, paused, forked := create(client.CreateOptions{}), create(client.CreateOptions{}), create(client.CreateOptions{})
	for _, sb := range []client.Sandbox{killed, paused, forked} {
		until(t, "it is syncing", func() bool { return phase(t, api, sb.ID).Phase == sandbox.FreshnessSyncing })
	}
	if err := api.Kill(ctx, killed.ID); err != nil {
		t.Error(err)
	}
	if err := api.Pause(ctx, paused.ID, true); err != nil {
		t.Error(err)
	}
	children, err := api.Fork(ctx, forked.ID, 1, 10*time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	child := *children[0].Sandbox
	if f := phase(t, api, child.ID); f.Phase != sandbox.FreshnessSyncing {
		t.Errorf("the child is %+v", f)
	}
	release()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	says(forked, "3")
	says(child, "3")
	if _, _, err := api.Connect(ctx, paused.ID, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	says(paused, "3")
	release = o.hold()
	crashed := create(client.CreateOptions{})
	o.asked()
	srv = srv.crash(t, dir)
	if f := phase(t, api, crashed.ID); f.Phase != sandbox.FreshnessSyncing {
		t.Errorf("after the crash it is %+v", f)
	}
	release()
	says(crashed, "3")

	// One that fails stays closed, with its reason, until it is synced.
	o.setDown(true)
	failed := create(client.CreateOptions{})
	until(t, "it has failed", func() bool { return phase(t, api, failed.ID).Phase == sandbox.FreshnessFailed })
	reason := phase(t, api, failed.ID).Reason
	if !strings.Contains(reason, "git fetch") || !strings.Contains(reason, "503") {
		t.Errorf("the reason is %q", reason)
	}
	if _, err := run(ctx, api, failed, "touch /tmp/early"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a command is refused with %v", err)
	}
	if code, body := readFile(t, failed, "/home/user/app/version"); code != http.StatusOK || body != "1\n" {
		t.Errorf("a read is answered %d %q", code, body)
	}
	if _, errs, code := srv.cli(t, "sandbox", "freshness", failed.ID, "--wait"); code == 0 || !strings.Contains(errs, "--sync") {
		t.Errorf("exit %d: %s", code, errs)
	}
	srv = srv.crash(t, dir)
	if f := phase(t, api, failed.ID); f.Phase != sandbox.FreshnessFailed || f.Reason != reason {
		t.Errorf("after a crash it is %+v", f)
	}
	o.setDown(false)
	if out, _ := srv.must(t, "sandbox", "freshness", failed.ID, "--sync", "--wait"); !strings.HasPrefix(out, "ready\n") {
		t.Errorf("%s", out)
	}
	says(failed, "3")
	if _, errs, code := srv.cli(t, "sandbox", "freshness", failed.ID, "--sync"); code == 0 || !strings.Contains(errs, "state that does not allow") {
		t.Errorf("a checkout that is ready is reset: %d %s", code, errs)
	}
	o.setDown(true)
	byHand := create(client.CreateOptions{})
	until(t, "it has failed", func() bool { return phase(t, api, byHand.ID).Phase == sandbox.FreshnessFailed })
	srv.must(t, "sandbox", "freshness", byHand.ID, "--complete")
	says(byHand, "1")
	o.setDown(false)

	// Work in a checkout outlives a snapshot.
	if _, err := run(ctx, api, sb, "echo mine > version"); err != nil {
		t.Fatal(err)
	}
	snap, err := api.Snapshot(ctx, sb.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	says(create(client.CreateOptions{Template: snap.ID}), "mine")
	says(create(client.CreateOptions{Template: snap.ID, Metadata: map[string]string{
		"rundlet.sync.branch": "main", "rundlet.sync.target": "origin/main", "rundlet.sync.checkout": "/home/user/app",
	}}), "3")

	all, err := api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	killAll(t, api, all)
	if err := errors.Join(api.DeleteSnapshot(ctx, snap.ID)); err != nil {
		t.Error(err)
	}
	before.await(t, dir)
	srv.stop(t)
}

// A private repository is cloned and synced by a sandbox that never has its key.
func TestAPrivateRepositoryIsSyncedByAHeaderRule(t *testing.T) {
	web := makeNames(t)
	web.trusted(t)
	o, backend := makeRepository(t)
	const login = "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0"
	web.repository = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != login {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	})
	o.commit("1")
	srv, api, dir := newServer(t, "--nameserver", nameServer)
	before, ctx := takeCensus(t, dir), t.Context()
	rule := map[string]map[string]string{allowedHost: {"Authorization": login}}
	sync := map[string]string{"rundlet.sync.branch": "main", "rundlet.sync.target": "origin/main", "rundlet.sync.checkout": "/home/user/app"}
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 10 * time.Minute, Headers: rule})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the internet is reached", func() bool { return fetch(t, api, sb, internetAddr) == "internet" })
	if out, err := run(ctx, api, sb, "git clone -q https://"+allowedHost+"/app.git app && cat app/version"); err != nil || out != "1\n" {
		t.Fatalf("%q, %v", out, err)
	}
	snap, err := api.Snapshot(ctx, sb.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	o.commit("2")
	next, err := api.CreateWith(ctx, client.CreateOptions{Template: snap.ID, Timeout: 10 * time.Minute, Headers: rule, Metadata: sync})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(ctx, api, next, "cat app/version; cat app/.git/config; env"); err != nil || !strings.HasPrefix(out, "2\n") || strings.Contains(out, login[6:]) {
		t.Errorf("%q, %v, %+v", out, err, phase(t, api, next.ID))
	}
	without, err := api.CreateWith(ctx, client.CreateOptions{Template: snap.ID, Timeout: 10 * time.Minute, Metadata: sync})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it has failed", func() bool { return phase(t, api, without.ID).Phase == sandbox.FreshnessFailed })
	t.Logf("without the rule: %s", phase(t, api, without.ID).Reason)
	killAll(t, api, []client.Sandbox{sb, next, without})
	if err := api.DeleteSnapshot(ctx, snap.ID); err != nil {
		t.Error(err)
	}
	before.await(t, dir)
	srv.stop(t)
}

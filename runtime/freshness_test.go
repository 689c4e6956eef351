package runtime

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

func TestACheckoutIsBroughtUpToDateAfterARestore(t *testing.T) {
	w := newForge(t)
	w.repository()
	w.commands()
	release := w.holdGit()
	sb := w.fromApp()
	w.waits(sb.ID)
	if got := w.gate(sb.ID); got != (sandbox.Freshness{Phase: freshness.Syncing, Branch: "main", Target: "origin/main", Checkout: "/srv/app", User: "ann"}) {
		t.Errorf("%+v", got)
	}
	release()
	if got := w.decided(sb.ID); got.Phase != freshness.Ready || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	w.mu.Lock()
	for _, c := range w.ran {
		if c.user != "ann" || c.cwd != "/srv/app" || c.env["GIT_TERMINAL_PROMPT"] != "0" || c.timeout == "" {
			t.Errorf("%+v", c)
		}
	}
	w.mu.Unlock()
	if got, want := w.commands(), []string{"git fetch origin refs/heads/main", "git checkout --force main --", "git reset --hard refs/remotes/origin/main --"}; !slices.Equal(got, want) {
		t.Errorf("it ran %q, want %q", got, want)
	}
	for deadline := time.After(20 * time.Second); samples(w.fixture, latency.FreshnessSync) != 1; {
		select {
		case <-deadline:
			t.Fatalf("%d samples", samples(w.fixture, latency.FreshnessSync))
		case <-time.After(time.Millisecond): // It comes after the gate has opened.
		}
	}
	for name, tt := range map[string]struct {
		keys []string
		want sandbox.Freshness
	}{
		"off":            {[]string{freshness.KeySync, "off"}, sandbox.Freshness{}},
		"another branch": {[]string{freshness.KeyBranch, "dev"}, sandbox.Freshness{Phase: freshness.Ready, Branch: "dev", Target: "origin/dev", Checkout: "/srv/app", User: "ann"}},
		"a commit":       {[]string{freshness.KeyTarget, head}, sandbox.Freshness{Phase: freshness.Ready, Branch: "main", Target: head, Checkout: "/srv/app", User: "ann"}},
		"elsewhere":      {[]string{freshness.KeyCheckout, "/srv/other"}, sandbox.Freshness{Phase: freshness.Ready, Branch: "main", Target: "origin/main", Checkout: "/srv/other"}},
	} {
		if got := w.decided(w.fromApp(with(tt.keys...)).ID); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	req := request()
	req.Template, req.Metadata = "app", map[string]string{freshness.KeyBranch: "--upload-pack=x"}
	if _, err := w.rt.Create(t.Context(), req); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("an option: %v", err)
	}
	if got := w.create(long).Freshness; !got.Empty() {
		t.Errorf("a sandbox without a repository has %+v", got)
	}
}

func TestASyncThatFailsKeepsItsReasonUntilItIsDoneAgain(t *testing.T) {
	w := newForge(t)
	w.repository()
	w.setFails(true)
	sb := w.fromApp()
	got := w.decided(sb.ID)
	if got.Phase != freshness.Failed || got.Reason != "git fetch: exit status 128: fatal: no [31mroute" {
		t.Errorf("%+v", got)
	}
	if n := samples(w.fixture, latency.FreshnessSync); n != 0 {
		t.Errorf("%d samples of a sync that failed", n)
	}
	w.restart()
	if again := w.decided(sb.ID); again != got {
		t.Errorf("after a restart %+v", again)
	}
	w.pause(sb.ID)
	if err := w.rt.BeginSync(t.Context(), sb.ID); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a paused one is synced: %v", err)
	}
	w.resume(sb.ID)
	children, err := w.rt.Fork(t.Context(), sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	if child := w.decided(children[0].Sandbox.ID); child != got {
		t.Errorf("the child is %+v", child)
	}
	w.setFails(false)
	if err := w.rt.BeginSync(t.Context(), sb.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.decided(sb.ID); got.Phase != freshness.Ready || got.Reason != "" {
		t.Errorf("%+v", got)
	}
	if err := w.rt.BeginSync(t.Context(), sb.ID); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a checkout that may have work in it is reset: %v", err)
	}
	if err := w.rt.FailSync(t.Context(), sb.ID, "x"); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("an open gate is closed: %v", err)
	}
	if err := w.rt.CompleteSync(t.Context(), sb.ID); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := w.rt.CompleteSync(t.Context(), w.create(long).ID); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a sandbox without a gate: %v", err)
	}
}

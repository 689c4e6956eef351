package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// code is the status of an error of the API, or 0.
func code(err error) int {
	var e *client.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// TestFollowUpsGoOnFromASession captures a session in each of the ways, ends it,
// and starts new sandboxes from the captured sessions.
func TestFollowUpsGoOnFromASession(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	ctx := t.Context()
	for _, reason := range []string{"idle", "exited", "stopped"} {
		t.Run(reason, func(t *testing.T) {
			session, err := api.Create(ctx, "base", 10*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := run(ctx, api, session, "echo the work of "+reason+" > ~/work"); err != nil {
				t.Fatal(err)
			}
			if reason == "stopped" {
				if err := api.Pause(ctx, session.ID, true); err != nil {
					t.Fatal(err)
				}
			}
			c, err := api.Capture(ctx, session.ID, reason)
			if err != nil {
				t.Fatal(err)
			}
			if c.Reason != reason || c.SandboxID != session.ID || c.Bytes <= 0 || time.Since(c.CreatedAt).Abs() > time.Minute {
				t.Errorf("captured %+v", c)
			}
			state := "running"
			if reason == "stopped" {
				state = "paused"
			}
			if sb, err := api.Get(ctx, session.ID); err != nil || string(sb.State) != state {
				t.Errorf("the session is %s after it was captured, %v", sb.State, err)
			}
			if err := api.Kill(ctx, session.ID); err != nil {
				t.Fatal(err)
			}
			var all []client.Sandbox
			for range 2 {
				sb, err := api.FollowUp(ctx, c.ID, client.CreateOptions{Timeout: 10 * time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, sb)
				if sb.ID == session.ID || sb.FollowUp == nil || *sb.FollowUp != (client.FollowUp{ID: c.ID, Reason: reason}) {
					t.Errorf("%s follows up on %+v", sb.ID, sb.FollowUp)
				}
				if again, err := api.Get(ctx, sb.ID); err != nil || again.FollowUp == nil || *again.FollowUp != *sb.FollowUp {
					t.Errorf("look-up: %+v, %v", again.FollowUp, err)
				}
				out, err := run(ctx, api, sb, "cat ~/work; hostname; echo more >> ~/work")
				if want := "the work of " + reason + "\n" + sb.ID + "\n"; err != nil || out != want {
					t.Errorf("%s has %q, %v", sb.ID, out, err)
				}
			}
			if list, err := api.Snapshots(ctx); err != nil || len(list) != 0 {
				t.Errorf("a continuation is listed as a snapshot: %v, %v", list, err)
			}
			if err := api.DeleteSnapshot(ctx, c.ID); err != nil {
				t.Error(err)
			}
			if _, err := api.FollowUp(ctx, c.ID, client.CreateOptions{Timeout: time.Minute}); code(err) != 404 {
				t.Errorf("a follow-up on what was deleted: %v", err)
			}
			killAll(t, api, all)
		})
	}
	before.await(t, dir)
	srv.stop(t)
}

// TestCapturesThatCannotBe are refused and leave the session as it was.
func TestCapturesThatCannotBe(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	ctx := t.Context()
	sb, err := api.Create(ctx, "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(id, reason string, want int) {
		t.Helper()
		if _, err := api.Capture(ctx, id, reason); code(err) != want {
			t.Errorf("capture %s as %q: %v, want %d", id, reason, err, want)
		}
	}
	refused(sb.ID, "stopped", 409) // It runs.
	refused(sb.ID, "bored", 400)
	refused("iunknown", "idle", 404)
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	refused(sb.ID, "idle", 409)
	if err := api.Pause(ctx, sb.ID, true); code(err) != 409 {
		t.Errorf("the second pause: %v", err)
	}
	s, err := api.Snapshot(ctx, sb.ID, "not-a-session")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{s.ID, "not-a-session", "unknown"} {
		if _, err := api.FollowUp(ctx, id, client.CreateOptions{Timeout: time.Minute}); code(err) != 404 {
			t.Errorf("a follow-up on %s: %v", id, err)
		}
	}
	if err := api.DeleteSnapshot(ctx, s.ID); err != nil {
		t.Error(err)
	}
	if resumed, was, err := api.Connect(ctx, sb.ID, time.Minute); err != nil || !was || resumed.ID != sb.ID {
		t.Errorf("resume: %+v, %v, %v", resumed, was, err)
	}
	killAll(t, api, []client.Sandbox{sb})
	before.await(t, dir)
	srv.stop(t)
}

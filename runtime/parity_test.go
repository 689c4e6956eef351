package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
)

// What each operation leaves as evidence, and what a failed one does not.
func TestEachOperationRecordsItsSampleAndAFailedOneNone(t *testing.T) {
	ctx := context.Background()
	nothing := func(*fixture) string { return "" }
	running := func(f *fixture) string { return f.create(long).ID }
	for _, c := range []struct {
		sample, name string
		fails        string // the step that is made to fail
		ready        func(f *fixture) string
		work         func(f *fixture, id string) error
	}{
		{latency.WarmSnapshotRestore, "create", "create", nothing,
			func(f *fixture, _ string) error { _, err := f.rt.Create(ctx, request()); return err }},
		{latency.WarmSnapshotRestore, "resume", "create", func(f *fixture) string { return f.paused() },
			func(f *fixture, id string) error { _, _, err := f.rt.Connect(ctx, id, time.Minute); return err }},
		{latency.WarmSnapshotRestore, "follow-up", "create", func(f *fixture) string {
			c, err := f.rt.Capture(ctx, running(f), sandbox.ReasonIdle, "")
			if err != nil {
				f.t.Fatal(err)
			}
			return c.ID
		}, func(f *fixture, id string) error { _, err := f.rt.FollowUp(ctx, id, request()); return err }},
		{latency.ReadyProbe, "create", "init", nothing,
			func(f *fixture, _ string) error { _, err := f.rt.Create(ctx, request()); return err }},
		{latency.SnapshotSave, "continuation", "snapshot", running,
			func(f *fixture, id string) error { _, err := f.rt.Capture(ctx, id, sandbox.ReasonIdle, ""); return err }},
		{latency.SnapshotSave, "snapshot", "snapshot", running,
			func(f *fixture, id string) error { _, err := f.rt.Snapshot(ctx, id, "", ""); return err }},
		{latency.SnapshotSave, "pause", "snapshot", running,
			func(f *fixture, id string) error { return f.rt.Pause(ctx, id, true) }},
		{latency.SnapshotSave, "template", "snapshot", func(f *fixture) string { f.setStamp("v2"); f.restart(); return "" },
			func(f *fixture, _ string) error { return f.rt.Prepare(ctx) }},
		{latency.ColdTemplateBuild, "template", "snapshot", func(f *fixture) string { f.setStamp("v2"); f.restart(); return "" },
			func(f *fixture, _ string) error { return f.rt.Prepare(ctx) }},
		{latency.KillDelete, "kill", "destroy", running,
			func(f *fixture, id string) error { return f.rt.Kill(ctx, id) }},
	} {
		t.Run(c.sample+"/"+c.name, func(t *testing.T) {
			for want := range 2 {
				f := prepared(t)
				id := c.ready(f)
				before := samples(f, c.sample)
				if want == 0 {
					f.failNext(c.fails, 1)
				}
				if err := c.work(f, id); (err == nil) != (want == 1) {
					t.Fatalf("want %d samples, got the error %v", want, err)
				}
				if got := samples(f, c.sample) - before; got != want {
					t.Errorf("%d samples, want %d", got, want)
				}
			}
		})
	}
}

// What is refused for good is refused before anybody is asked for room.
func TestAHardRejectTouchesNeitherCapacityNorMachines(t *testing.T) {
	ctx := context.Background()
	f, r := traced(t)
	running, other := f.create(long).ID, f.create(long).ID
	f.pause(other)
	for name, c := range map[string]struct {
		call func() error
		want error
	}{
		"create without a timeout": {func() error { _, err := f.rt.Create(ctx, sandbox.CreateRequest{Template: "base"}); return err }, sandbox.ErrInvalid},
		"create of no template": {func() error {
			_, err := f.rt.Create(ctx, sandbox.CreateRequest{Template: "nope", Timeout: time.Minute})
			return err
		}, sandbox.ErrTemplateNotFound},
		"fork of none": {func() error { _, err := f.rt.Fork(ctx, running, sandbox.ForkRequest{Timeout: time.Minute}); return err }, sandbox.ErrInvalid},
		"fork of too many": {func() error {
			_, err := f.rt.Fork(ctx, running, sandbox.ForkRequest{Count: sandbox.MaxForks + 1, Timeout: time.Minute})
			return err
		}, sandbox.ErrInvalid},
		"snapshot name":           {func() error { _, err := f.rt.Snapshot(ctx, running, "../up", ""); return err }, sandbox.ErrInvalid},
		"reason of a capture":     {func() error { _, err := f.rt.Capture(ctx, running, "bored", ""); return err }, sandbox.ErrInvalid},
		"a running one stopped":   {func() error { _, err := f.rt.Capture(ctx, running, sandbox.ReasonStopped, ""); return err }, sandbox.ErrConflict},
		"follow-up on nothing":    {func() error { _, err := f.rt.FollowUp(ctx, "nothing", request()); return err }, sandbox.ErrSnapshotNotFound},
		"pause of a paused one":   {func() error { return f.rt.Pause(ctx, other, true) }, sandbox.ErrConflict},
		"traffic to a paused one": {func() error { _, err := f.rt.Wake(ctx, other); return err }, sandbox.ErrNotRunning},
		"timeout for ever":        {func() error { return f.rt.SetTimeout(ctx, running, 1000*time.Hour) }, sandbox.ErrInvalid},
	} {
		f.forgetHistory()
		r.forget()
		before := f.rt.admission.Ledger.Usage()
		f.failpoint(func(step step.Step) error { t.Errorf("%s: it came to %s", name, step); return nil })
		if err := c.call(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if ended, _ := r.seen(); f.rt.admission.Ledger.Usage() != before || len(ended) != 0 || len(f.history()) != 0 {
			t.Errorf("%s: stages %v, did %v", name, ended, f.history())
		}
	}
	f.failpoint(nil)
}

func TestAFollowUpKeepsEachReasonAndIsNoResume(t *testing.T) {
	ctx := context.Background()
	for _, reason := range []sandbox.ContinuationReason{sandbox.ReasonStopped, sandbox.ReasonIdle, sandbox.ReasonExited} {
		t.Run(string(reason), func(t *testing.T) {
			f := newFixture(t)
			id := f.create(long).ID
			f.inside(id).Set("mark", "session")
			if reason == sandbox.ReasonStopped {
				f.pause(id)
			}
			c, err := f.rt.Capture(ctx, id, reason, "")
			if err != nil || c.Reason != reason {
				t.Fatalf("%+v, %v", c, err)
			}
			before := f.row(id)
			f.restart() // the reason is stored
			got, err := f.rt.FollowUp(ctx, c.ID, request())
			if err != nil || got.FollowsUp == nil || got.FollowsUp.Reason != reason {
				t.Fatalf("%+v, %v", got, err)
			}
			if f.inside(got.ID).Get("mark") != "session" {
				t.Error("it is not the session's memory")
			}
			again, err := f.rt.Get(ctx, got.ID)
			if err != nil || again.FollowsUp == nil || again.FollowsUp.Reason != reason {
				t.Errorf("asked again: %+v, %v", again, err)
			}
			after := f.row(id)
			if got.ID == id || after.State != before.State || after.SnapshotID != before.SnapshotID || !after.StartedAt.Equal(before.StartedAt) {
				t.Errorf("the session was resumed: %+v, was %+v", after, before)
			}
			if got.EnvdAccessToken == view(&f.rt.parts, after).EnvdAccessToken {
				t.Error("it has the session's token")
			}
		})
	}
}

// A stage that fails on the way back from the pool ends like any create.
func TestACheckoutThatFailsIsStoppedAndReleased(t *testing.T) {
	warmed(t, pool.Target{Ready: 1}, func(t *testing.T, f *fixture) {
		f.refill(false)
		f.failNext("init", 1)
		req := request()
		req.Env = map[string]string{"A": "1"}
		if _, err := f.rt.Create(context.Background(), req); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait()
		f.wantNothingLeft()
		if u := f.rt.admission.Ledger.Usage(); u.Warm.Sandboxes != 0 {
			t.Errorf("%+v", u)
		}
	})
}

func TestTheFirstOutputAfterAResumeIsSampledOnce(t *testing.T) {
	f := newFixture(t)
	id := f.create(long).ID
	f.rt.FirstStdout(id, time.Millisecond)
	f.pause(id)
	f.rt.FirstStdout(id, time.Millisecond) // of a command that the pause broke off
	if got := samples(f, latency.ResumeToFirstStdout); got != 1 {
		t.Errorf("%d samples of one restore", got)
	}
	f.resume(id)
	for range 2 {
		f.rt.FirstStdout(id, time.Millisecond)
	}
	if got := samples(f, latency.ResumeToFirstStdout); got != 2 {
		t.Errorf("%d samples of a restore and a resume", got)
	}
}

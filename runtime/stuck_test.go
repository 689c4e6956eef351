package runtime

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// What hangs for longer than it may is ended, unless all of it is saved. Until
// then it counts as stuck.
func TestACallThatHangsIsBrokenOffAfterItsDeadline(t *testing.T) {
	for name, c := range map[string]struct {
		paused bool
		hangs  []string
		call   func(f *fixture, id string) error
		alive  time.Duration // it must live so long
		state  sandbox.State // in the end
		reason string
	}{
		"a snapshot: its machine is silent": {hangs: []string{"snapshot"}, alive: save.SnapshotTimeout + 4*time.Minute, state: sandbox.StateKilled,
			reason: "stuck: no sign of life for 5m0s", call: func(f *fixture, id string) error {
				_, err := f.rt.Snapshot(context.Background(), id, "", "")
				return err
			}},
		"a pause: its machine is silent": {hangs: []string{"snapshot", "start"}, alive: save.PauseTimeout + 4*time.Minute,
			state: sandbox.StateKilled, reason: supervise.ReasonHung, call: pauseOf},
		"a resume: it is saved": {paused: true, hangs: []string{"create"}, state: sandbox.StatePaused, call: func(f *fixture, id string) error {
			_, _, err := f.rt.Connect(context.Background(), id, time.Minute)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
				defer f.rt.Close()
				sb := f.create(hours)
				if c.paused {
					f.pause(sb.ID)
				}
				f.hangs(c.hangs...)
				f.silence(forever)
				called := make(chan error, 1)
				go func() { called <- c.call(f, sb.ID) }()
				time.Sleep(c.alive)
				synctest.Wait()
				if row := f.row(sb.ID); c.alive > 0 && row.State == "killed" {
					t.Errorf("it was ended before its time: %+v", row)
				}
				if n := f.rt.Supervision().Stuck; c.alive > 0 && n != 1 {
					t.Errorf("%d are stuck", n)
				}
				time.Sleep(15*time.Minute - c.alive)
				synctest.Wait()
				if row := f.row(sb.ID); row.State != c.state || row.Reason != c.reason {
					t.Errorf("row %+v", row)
				}
				if err := <-called; err == nil {
					t.Error("the call that hung succeeded")
				}
				if c.state == sandbox.StatePaused {
					f.hangs()
					f.silence(0)
					f.resume(sb.ID)
				}
			})
		})
	}
}

// A pause that hangs in a machine that answers is not a reason to end it.
func TestAPauseThatHangsIsUndoneWhenItLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		sb := f.create(hours)
		f.inside(sb.ID).Set("mark", "here")
		h := f.hangs("stop") // It is not frozen yet, so that its agent answers.
		called := make(chan error, 1)
		go func() { called <- pauseOf(f, sb.ID) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "pausing" || f.rt.Supervision().Stuck != 1 {
			t.Fatalf("row %+v, report %+v", row, f.rt.Supervision())
		}
		f.hangs()
		h.endAll()
		if err := <-called; !errors.Is(err, live.ErrStuck) {
			t.Errorf("the pause: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "running" || f.inside(sb.ID).Get("mark") != "here" {
			t.Errorf("row %+v", row)
		}
		if n := f.rt.Supervision().Stuck; n != 0 {
			t.Errorf("%d are still stuck", n)
		}
	})
}

func TestAStuckTransitionIsBrokenOffAndItsSandboxGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb, ctx := f.create(hours), context.Background()
		f.lookDuring("snapshot", func() { time.Sleep(time.Minute) })
		var wg sync.WaitGroup
		var err error
		wg.Go(func() { err = f.rt.Pause(ctx, sb.ID, true) })
		synctest.Wait()
		f.rt.watcher.Beat(ctx)
		if s := f.rt.Supervision().Stuck; s != 0 {
			t.Errorf("%d are stuck at once", s)
		}
		// Its deadline passes before that of the call.
		h, _ := f.rt.live.Find(sb.ID)
		h.Update(func(row *store.Sandbox) { row.Deadline = time.Now() })
		f.rt.watcher.Beat(ctx)
		if s := f.rt.Supervision().Stuck; s != 1 {
			t.Errorf("%d are stuck", s)
		}
		wg.Wait()
		if !errors.Is(err, live.ErrStuck) {
			t.Errorf("the pause ended with %v", err)
		}
		synctest.Wait()
		if got, err := f.rt.Get(ctx, sb.ID); err != nil || got.State != sandbox.StateRunning {
			t.Errorf("%+v, %v", got, err)
		}
		if n := f.rt.Supervision().Settled; len(n) != 0 {
			t.Errorf("settled %v: the call itself undid what it did", n)
		}
	})
}

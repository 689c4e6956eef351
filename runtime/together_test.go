package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// TestCallsBesideAPauseWaitForWhatComesOfIt: also of one that is saved and whose
// machine cannot be ended at once, or that failed and cannot be undone at once.
func TestCallsBesideAPauseWaitForWhatComesOfIt(t *testing.T) {
	ctx := context.Background()
	calls := map[string]struct {
		call func(f *fixture, id string) error
		// paused and running are what it says in the end.
		paused, running error
	}{
		"pause":    {call: func(f *fixture, id string) error { return f.rt.Pause(ctx, id, true) }},
		"snapshot": {call: func(f *fixture, id string) error { _, err := f.rt.Snapshot(ctx, id, "", ""); return err }},
		"fork": {call: func(f *fixture, id string) error {
			_, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
			return err
		}},
		"connect": {call: func(f *fixture, id string) error { _, _, err := f.rt.Connect(ctx, id, time.Hour); return err }},
		"timeout": {call: func(f *fixture, id string) error { return f.rt.SetTimeout(ctx, id, time.Hour) }, paused: sandbox.ErrConflict},
		"continuation": {call: func(f *fixture, id string) error {
			_, err := f.rt.Capture(ctx, id, sandbox.ReasonStopped, "")
			return err
		}, running: sandbox.ErrConflict},
		"kill": {call: func(f *fixture, id string) error { return f.rt.Kill(ctx, id) }},
	}
	pauses := map[string]struct {
		fails map[string]int
		runs  bool
	}{
		"it succeeds":              {},
		"its machine does not end": {fails: map[string]int{"destroy": 4}},
		"it cannot be undone":      {fails: map[string]int{"snapshot": 1, "start": 4}, runs: true},
	}
	for how, p := range pauses {
		for name, c := range calls {
			if name == "kill" && p.fails["destroy"] > 0 {
				continue // It is what fails.
			}
			t.Run(name+" when "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t)
					defer f.rt.Close()
					id := f.create(hours).ID
					for step, times := range p.fails {
						f.failNext(step, times)
					}
					f.lookDuring("stop", func() { time.Sleep(time.Second) })
					paused := make(chan struct{})
					go func() {
						defer close(paused)
						_ = f.rt.Pause(ctx, id, true)
					}()
					synctest.Wait()
					want := c.paused
					if p.runs {
						want = c.running
					}
					if err := c.call(f, id); !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
					<-paused
				})
			})
		}
	}
}

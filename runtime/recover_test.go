package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// manage makes a machine with n sandboxes that run, and ends its process.
func (f *fixture) manage(n int) (ids []string) {
	f.t.Helper()
	f.cfg.Capacity.Sandboxes = 1000
	f.restart()
	for range n {
		ids = append(ids, f.create(hours).ID)
	}
	f.rt.Close()
	return ids
}

func TestAStartServesAllButThoseThatDoNotAnswerAndReportsThese(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		ids := f.manage(299)
		mute := ids[100:103]
		for _, id := range mute {
			f.mute(id)
		}
		hung := map[string]bool{mute[0]: true, mute[1]: true, mute[2]: true}
		letGo := make(chan struct{})
		f.hang = func(op, id string) <-chan struct{} {
			if op == "adopt" && hung[id] {
				return letGo
			}
			return nil
		}
		newer := f.row(ids[0])
		newer.ID, newer.State, newer.Version = "inewer", "hibernating", 0
		if err := f.db.Sandboxes.Put(ctx, &newer); err != nil {
			t.Fatal(err)
		}
		var told atomic.Int64
		f.cfg.Recovering = func(done, total int) {
			if total != 300 || done > total {
				t.Errorf("%d of %d", done, total)
			}
			told.Store(max(told.Load(), int64(done)))
		}
		begin := time.Now()
		f.open()
		defer f.rt.Close()
		// The driver asks all machines at once, for two seconds; the agent of one that
		// did not answer is not asked.
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the start took %v", took)
		}
		if told.Load() != 300 {
			t.Errorf("reported %d", told.Load())
		}
		for _, id := range ids {
			got, err := f.rt.Get(ctx, id)
			var retry *sandbox.RetryError
			switch {
			case !hung[id] && (err != nil || got.State != sandbox.StateRunning):
				t.Errorf("%s: %+v, %v", id, got, err)
			case hung[id] && (!errors.As(err, &retry) || retry.After <= 0 || !errors.Is(err, sandbox.ErrUnavailable)):
				t.Errorf("%s, which does not answer: %v", id, err)
			}
		}
		if _, err := f.rt.Dial(ctx, mute[0], 80); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("dial: %v", err)
		}
		report := f.rt.Supervision().Unrecovered
		if len(report) != 4 || report["inewer"] == "" || report[mute[2]] == "" {
			t.Errorf("report %v", report)
		}
		if row := f.row("inewer"); row.State != "hibernating" {
			t.Errorf("row %+v", row)
		}
		if err := f.rt.Kill(ctx, mute[0]); err != nil {
			t.Errorf("kill of one that is being recovered: %v", err)
		}
		f.unmute()
		close(letGo)
		time.Sleep(2 * machine.BootTimeout)
		synctest.Wait()
		for _, id := range mute[1:] {
			if _, err := f.rt.Get(ctx, id); err != nil {
				t.Errorf("it answers again: %v", err)
			}
		}
		if report := f.rt.Supervision().Unrecovered; len(report) != 1 {
			t.Errorf("report %v", report)
		}
	})
}

func TestAStartWaitsForOneSandboxUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		ids := f.manage(100)
		// Far more than are recovered at a time cannot be ended.
		for _, id := range ids[:50] {
			setState(f, id, "creating")
		}
		free := make(chan struct{})
		f.lookDuring("destroy", func() { <-free })
		begin := time.Now()
		f.open()
		defer f.rt.Close()
		if took := time.Since(begin); took > recovery.AllTimeout {
			t.Errorf("the start took %v", took)
		}
		for _, id := range ids[50:] {
			if _, err := f.rt.Get(ctx, id); err != nil {
				t.Error(err)
			}
		}
		if n := len(f.rt.Supervision().Unrecovered); n != 50 {
			t.Errorf("%d are reported", n)
		}
		close(free)
		time.Sleep(time.Minute) // What had run out of time is tried once more.
		synctest.Wait()
		if n := len(f.rt.Supervision().Unrecovered); n != 0 {
			t.Errorf("%d are still reported", n)
		}
		if row := f.row(ids[0]); row.State != "killed" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAStartPausesWhatHasTimedOutWhenItServesAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		ids := f.manage(10)
		for _, id := range ids[:8] {
			row := f.row(id)
			row.EndAt, row.OnTimeout = time.Now().Add(-time.Second), sandbox.OnTimeoutPause
			if err := f.db.Sandboxes.Put(ctx, &row); err != nil {
				t.Fatal(err)
			}
		}
		var now, most atomic.Int64
		f.lookDuring("snapshot", func() {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Minute)
		})
		begin := time.Now()
		f.open()
		defer f.rt.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("the start took %v", took)
		}
		if _, err := f.rt.Get(ctx, ids[9]); err != nil {
			t.Error(err)
		}
		if _, err := f.rt.Get(ctx, ids[0]); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("one that is to be paused: %v", err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for _, id := range ids[:8] {
			if got, err := f.rt.Get(ctx, id); err != nil || got.State != sandbox.StatePaused {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if most.Load() > save.LatePauses {
			t.Errorf("%d pauses at a time", most.Load())
		}
	})
}

func TestASandboxWithoutItsNetworkThatCannotBePausedIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		id := f.manage(1)[0]
		f.network.mu.Lock()
		clear(f.network.leased)
		f.network.mu.Unlock()
		f.failNext("snapshot", 8)
		f.open()
		defer f.rt.Close()
		synctest.Wait()
		if _, err := f.rt.Get(ctx, id); !errors.Is(err, sandbox.ErrUnavailable) || len(f.rt.Supervision().Unrecovered) != 1 {
			t.Errorf("%v, report %v", err, f.rt.Supervision().Unrecovered)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(id); row.State != "paused" {
			t.Errorf("row %+v", row)
		}
		f.resume(id)
	})
}

func TestANetworkThatCannotBeTakenOverCompletelyHoldsUpNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		id := f.manage(1)[0]
		f.failNext("adopt network", 1)
		f.open()
		defer f.rt.Close()
		if _, err := f.rt.Get(context.Background(), id); err != nil {
			t.Error(err)
		}
		if report := f.rt.Supervision().Unrecovered; report["network"] == "" {
			t.Errorf("report %v", report)
		}
	})
}

func TestAStartDoesNotWaitForAnothersTemplateBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.rt.Close()
		built := make(chan struct{})
		f.lookDuring("lock", func() { <-built })
		begin := time.Now()
		f.open()
		if took := time.Since(begin); took > collectTimeout {
			t.Errorf("it took %v", took)
		}
		close(built)
		f.rt.Close()
	})
}

// A row that its own process could not settle is settled by the next, whatever
// number of them there is.
func TestASlowStartKnowsEverySandboxOfItsRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		f.manage(0)
		for i := range 40 {
			row := store.Sandbox{ID: fmt.Sprintf("islow%d", i), Instance: "test", State: "killing", Reason: "killed by request"}
			if err := f.db.Sandboxes.Put(ctx, &row); err != nil {
				t.Fatal(err)
			}
		}
		free := make(chan struct{})
		f.lookDuring("release", func() { <-free })
		for i := range 40 {
			row := f.row(fmt.Sprintf("islow%d", i))
			row.SlotID = "slot"
			if err := f.db.Sandboxes.Put(ctx, &row); err != nil {
				t.Fatal(err)
			}
		}
		f.open()
		defer f.rt.Close()
		if n := len(f.rt.live.All()); n != 40 {
			t.Errorf("%d are known", n)
		}
		close(free)
		time.Sleep(time.Minute) // What had run out of time is tried once more.
		synctest.Wait()
		if n := len(f.rt.live.All()); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// A client that waits for a sandbox that a start quarantines never reaches it: its
// machine may be newer than what was saved.
func TestAWaitingClientDoesNotReachAQuarantinedSandbox(t *testing.T) {
	for name, quarantined := range map[string]bool{"quarantined": true, "recovered": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				id := f.create(hours).ID
				f.pause(id)
				sb, _ := f.rt.live.Find(id)
				sb.SetRecovering(recovery.WaitsForTurn)
				f.forgetHistory()
				done := make(chan error)
				go func() {
					_, _, err := f.rt.Connect(context.Background(), id, time.Hour)
					done <- err
				}()
				synctest.Wait()
				if quarantined {
					f.rt.ender.Forget(sb)
				} else {
					sb.SetRecovering("")
				}
				err := <-done
				if quarantined != errors.Is(err, sandbox.ErrNotFound) || !quarantined && err != nil {
					t.Errorf("got %v", err)
				}
				if h := f.history(); quarantined && len(h) != 0 {
					t.Errorf("it did %v", h)
				}
			})
		})
	}
}

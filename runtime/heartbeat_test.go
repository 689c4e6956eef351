package runtime

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// supervised changes what the next runtime supervises, and opens it.
func (f *fixture) supervised(s Supervision) {
	f.t.Helper()
	f.cfg.Supervision = s
	f.restart()
	f.forgetHistory()
}

// silence makes the agents not answer for a number of requests.
func (f *fixture) silence(times int) { f.failNext("health", times) }

const forever = 1 << 30

func hours(req *sandbox.CreateRequest) { req.Timeout = 10 * time.Hour }

func TestASandboxThatGivesNoSignOfLifeIsEndedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		sb := f.create(hours)
		time.Sleep(time.Minute)
		f.silence(forever)
		time.Sleep(4*time.Minute + 29*time.Second)
		synctest.Wait()
		if _, err := f.rt.Get(context.Background(), sb.ID); err != nil {
			t.Fatalf("it was ended before its time: %v", err)
		}
		if n := f.rt.Supervision().Silent; n != 1 {
			t.Errorf("%d are silent", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killed" || !strings.HasPrefix(row.Reason, "stuck: no sign of life for 5m") {
			t.Errorf("row %+v", row)
		}
		if n := f.rt.Supervision().Settled["kill"]; n != 1 {
			t.Errorf("%d are counted", n)
		}
		f.wantNothingLeft()
	})
}

func TestASandboxThatAnswersLateIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		sb := f.create(hours)
		time.Sleep(time.Minute)
		f.silence(10) // The last of five minutes; then it is asked once more before it would be ended.
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := f.rt.Get(context.Background(), sb.ID); err != nil {
			t.Errorf("it was ended: %v", err)
		}
		if got := f.rt.Supervision(); got.Silent != 0 || got.Settled["kill"] != 0 {
			t.Errorf("report %+v", got)
		}
	})
}

func TestADaemonThatSleptDoesNotTakeItForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(hours)
		ctx := context.Background()
		f.rt.watcher.Beat(ctx)
		time.Sleep(time.Hour)
		f.silence(supervise.LeastMissed - 1)
		for range supervise.LeastMissed - 1 {
			f.rt.watcher.Beat(ctx)
			synctest.Wait()
		}
		if _, err := f.rt.Get(ctx, sb.ID); err != nil {
			t.Errorf("it was ended: %v", err)
		}
	})
}

func TestASandboxThatALifecycleCallWorksOnIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb, ctx := f.create(hours), context.Background()
		f.rt.cfg.Supervision.HeartbeatTimeout = 2 * time.Minute
		f.rt.watcher.Beat(ctx)
		f.silence(forever)
		f.forgetHistory()
		f.lookDuring("snapshot", func() {
			for range 4 {
				time.Sleep(time.Minute)
				f.rt.watcher.Beat(ctx)
			}
		})
		if _, err := f.rt.Snapshot(ctx, sb.ID, "", ""); err != nil {
			t.Fatal(err)
		}
		for _, e := range f.history() {
			if e == "health" {
				t.Error("it was asked")
			}
		}
		f.rt.watcher.Beat(ctx) // Not being asked for so long does not count as silence.
		synctest.Wait()
		if _, err := f.rt.Get(ctx, sb.ID); err != nil {
			t.Errorf("it was ended: %v", err)
		}
	})
}

func TestOneMachineThatFailsDoesNotEndTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: time.Minute})
		defer f.rt.Close()
		first := f.create(hours)
		time.Sleep(time.Minute)
		f.silence(forever)
		f.failNext("destroy", forever) // It cannot even be ended.
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := f.row(first.ID).State; s != "killing" {
			t.Fatalf("the first is %s", s)
		}
		if n := f.rt.Supervision().Stuck; n != 1 {
			t.Errorf("%d are counted as stuck", n)
		}
		f.silence(0)
		second := f.create(hours)
		f.silence(forever)
		f.failNext("destroy", 0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for _, id := range []string{first.ID, second.ID} {
			if row := f.row(id); row.State != "killed" {
				t.Errorf("row %+v", row)
			}
		}
		if n := f.rt.Supervision().Stuck; n != 0 {
			t.Errorf("%d are still counted as stuck", n)
		}
		f.wantNothingLeft()
	})
}

func TestAtMostFourAreAskedAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes = 20
		f.restart()
		for range 20 {
			f.create(hours)
		}
		var now, most atomic.Int64
		f.lookDuring("health", func() {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
		})
		defer f.rt.Close()
		begin := time.Now()
		f.rt.watcher.Beat(context.Background())
		if took := time.Since(begin); most.Load() != supervise.LeastBeats || took != 5*time.Second {
			t.Errorf("%d at a time, %v", most.Load(), took)
		}
	})
}

// However many guests there are, all of them are asked within half of the interval.
func TestARoundOfManyEndsBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, interval = 80, time.Second
		f := newFixture(t)
		f.cfg.Capacity.Sandboxes = many
		f.restart()
		defer f.rt.Close()
		for range many {
			f.create(hours)
		}
		f.rt.cfg.Supervision.Heartbeat = interval
		f.rt.watcher = newWatcher(&f.rt.parts)
		f.lookDuring("health", func() { time.Sleep(supervise.BeatTime) })
		begin := time.Now()
		f.rt.watcher.Beat(context.Background())
		if took := time.Since(begin); took > interval/2 {
			t.Errorf("%v for %d", took, many)
		}
		for n, want := range map[int]int{0: supervise.LeastBeats, 10: supervise.LeastBeats, 10000: 33, 1 << 30: supervise.MostBeats} {
			if got := supervise.AtOnce(n, 30*time.Second); got != want {
				t.Errorf("%d of %d at a time, want %d", got, n, want)
			}
		}
	})
}

func TestAnAgentThatNeverAnswersIsGivenUpAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.create(hours)
		answer := make(chan struct{})
		defer close(answer)
		f.lookDuring("health", func() { <-answer })
		defer f.rt.Close()
		begin := time.Now()
		f.rt.watcher.Beat(context.Background())
		if took := time.Since(begin); took != supervise.BeatTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

func TestCloseEndsTheLoopsAndJudgesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: time.Minute})
		sb := f.create(hours)
		time.Sleep(time.Minute)
		answer := make(chan struct{})
		defer close(answer)
		f.lookDuring("health", func() { <-answer })
		time.Sleep(31 * time.Second)
		synctest.Wait() // A beat is under way.
		begin := time.Now()
		f.rt.Close()
		if time.Since(begin) != 0 {
			t.Errorf("it took %v", time.Since(begin))
		}
		if row := f.row(sb.ID); row.State != "running" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestALookThatIsBrokenOffSettlesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(hours)
		h, _ := f.rt.live.Find(sb.ID)
		h.Update(func(row *store.Sandbox) { row.State, row.Deadline = sandbox.StateCreating, time.Now() })
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.rt.watcher.Beat(ctx)
		synctest.Wait()
		if got := f.rt.Supervision(); got.Stuck != 0 || f.row(sb.ID).State != "running" {
			t.Errorf("report %+v, row %+v", got, f.row(sb.ID))
		}
	})
}

func TestAnEndThatTakesLongIsStuckAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		defer f.rt.Close()
		sb := f.create(hours)
		f.failNext("destroy", forever)
		if err := f.rt.Kill(ctx, sb.ID); err == nil {
			t.Fatal("it was ended")
		}
		time.Sleep(end.KillTimeout - time.Second)
		f.rt.watcher.Beat(ctx)
		if n := f.rt.Supervision().Stuck; n != 0 {
			t.Errorf("%d are stuck before", n)
		}
		time.Sleep(time.Second)
		f.rt.watcher.Beat(ctx)
		if n := f.rt.Supervision().Stuck; n != 1 {
			t.Errorf("%d are stuck after", n)
		}
	})
}

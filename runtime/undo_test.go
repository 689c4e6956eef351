package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

func TestAMachineThatCannotBeContinuedAfterAFailedPauseIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		f.inside(sb.ID).Set("mark", "here")
		f.failNext("snapshot", 1)
		f.failNext("start", 3)
		if err := pauseOf(f, sb.ID); !errors.Is(err, errInjected) {
			t.Fatalf("got %v", err)
		}
		if row := f.row(sb.ID); row.State != "pausing" {
			t.Errorf("row %+v", row)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "running" || f.inside(sb.ID).Get("mark") != "here" {
			t.Errorf("row %+v", row)
		}
		if h, _ := f.rt.live.Find(sb.ID); h.Life.Held() {
			t.Error("it is still held")
		}
	})
}

func TestAnOutOfMemoryInAPauseIsToldAsThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		inside := f.inside(sb.ID)
		f.lookDuring("snapshot", func() { time.AfterFunc(machine.ReasonTimeout/2, func() { inside.Exit("oom") }) })
		f.failNext("snapshot", 1)
		f.failNext("start", 1) // Its end is seen a moment later.
		if err := pauseOf(f, sb.ID); err == nil {
			t.Fatal("it is paused")
		}
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killed" || row.Reason != "oom" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAPauseIsUndoneOnlyAfterTheGuestWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		f.failNext("snapshot", 1)
		f.silence(5) // of a busy machine
		f.lookDuring("health", func() {
			if row := f.row(sb.ID); row.State != "pausing" {
				t.Errorf("it counts as undone before the guest answered: %+v", row)
			}
		})
		f.forgetHistory()
		if err := pauseOf(f, sb.ID); !errors.Is(err, errInjected) {
			t.Fatalf("got %v", err)
		}
		if n := countOf(f, "health"); n != 6 {
			t.Errorf("it was asked %d times", n)
		}
		if row := f.row(sb.ID); row.State != "running" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestAGuestThatDoesNotAnswerAfterAnUndoIsLeftToTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		f.failNext("snapshot", 1)
		f.silence(forever)
		begin := time.Now()
		if err := pauseOf(f, sb.ID); !errors.Is(err, errInjected) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(begin); took > machine.AnswerTimeout+machine.ReasonTimeout {
			t.Errorf("it took %v", took)
		}
		if got, err := f.rt.Get(context.Background(), sb.ID); err != nil || got.State != sandbox.StateRunning {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// The row says pausing and the driver's record says running, as after a crash in
// the first moments of a pause: what the record says is not believed.
func TestARestartTellsAMachineThatWasPausingToRunInAnyCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(hours)
		f.rt.Close()
		setState(f, sb.ID, "pausing")
		f.forgetHistory()
		f.open()
		defer f.rt.Close()
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "running" || countOf(f, "start") != 1 {
			t.Errorf("row %+v after %v", row, f.history())
		}
	})
}

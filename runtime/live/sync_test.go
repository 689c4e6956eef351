package live

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func begin(f func()) bool { go f(); return true }

func TestOneSyncIsUnderWayAndThatOfAnEarlierMachineIsEnded(t *testing.T) {
	var s Syncs
	entered := make(chan int, 10)
	causes := make(chan error, 10)
	do := func(run int) func(context.Context) {
		return func(ctx context.Context) {
			entered <- run
			<-ctx.Done()
			causes <- context.Cause(ctx)
		}
	}
	s.Start(t.Context(), 1, begin, do(1))
	if got := <-entered; got != 1 {
		t.Errorf("%d began", got)
	}
	s.Start(t.Context(), 1, begin, do(-1)) // It is under way.
	s.Start(t.Context(), 2, begin, do(2))
	if err := <-causes; !errors.Is(err, ErrInterrupted) {
		t.Errorf("the first ended with %v", err)
	}
	if got := <-entered; got != 2 {
		t.Errorf("%d began", got)
	}
	byHand := errors.New("by hand")
	if err := s.Stop(t.Context(), byHand); err != nil {
		t.Error(err)
	}
	if err := <-causes; !errors.Is(err, byHand) {
		t.Errorf("the second ended with %v", err)
	}
	s.Start(t.Context(), 2, begin, do(3)) // The former one has ended.
	if got := <-entered; got != 3 {
		t.Errorf("%d began", got)
	}
	if err := s.Stop(t.Context(), byHand); err != nil {
		t.Error(err)
	}
	<-causes
	s.Start(t.Context(), 3, func(func()) bool { return false }, do(4)) // The daemon ends.
	if err := s.Stop(t.Context(), byHand); err != nil {
		t.Error(err)
	}
	s.Start(t.Context(), 3, begin, do(5))
	<-entered
	if s.interrupt(); !errors.Is(<-causes, ErrInterrupted) {
		t.Error("it is not interrupted")
	}
	s.Start(t.Context(), 4, begin, func(context.Context) { select {} }) // It ignores its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx, byHand); !errors.Is(err, context.Canceled) {
		t.Errorf("it is said to have ended: %v", err)
	}
}

func TestMovesAreReported(t *testing.T) {
	sb := New(store.Sandbox{ID: "i1", State: sandbox.StateRunning})
	moved := func(next <-chan struct{}) bool {
		select {
		case <-next:
			return true
		default:
			return false
		}
	}
	for name, tt := range map[string]struct {
		change func()
		want   bool
	}{
		"state":     {func() { sb.Update(func(row *store.Sandbox) { row.State = sandbox.StatePausing }) }, true},
		"freshness": {func() { sb.Update(func(row *store.Sandbox) { row.Freshness.Reason = "r" }) }, true},
		"slot":      {func() { sb.Update(func(row *store.Sandbox) { row.SlotID = "s" }) }, false},
	} {
		next := sb.Moves.Next()
		if tt.change(); moved(next) != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
	next := sb.Moves.Next()
	if sb.Condemn("killed"); !moved(next) {
		t.Error("a kill is not reported")
	}
}

// Two syncs of one checkout must not run at a time: a former one that does not end at once is waited for.
func TestASyncWaitsForTheOneOfAnEarlierMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Syncs
		hold, order := make(chan struct{}), make(chan string, 2)
		s.Start(t.Context(), 1, begin, func(context.Context) { // It ignores its context.
			<-hold
			order <- "former"
		})
		s.Start(t.Context(), 2, begin, func(context.Context) { order <- "next" })
		synctest.Wait()
		if len(order) > 0 {
			t.Errorf("%s ran", <-order)
		}
		close(hold)
		if a, b := <-order, <-order; a != "former" || b != "next" {
			t.Errorf("%s, then %s", a, b)
		}
	})
}

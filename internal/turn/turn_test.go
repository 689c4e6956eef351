package turn_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
)

func lock(t *testing.T, turns *turn.Turn, op string) {
	t.Helper()
	if err := turns.Lock(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

// abandon leaves the turn with a call that hangs until the returned channel is
// closed.
func abandon(t *testing.T, turns *turn.Turn) (hangs chan struct{}) {
	t.Helper()
	lock(t, turns, "stop")
	hangs = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	err := turns.Run(ctx, turn.Grace, func() error { <-hangs; return errors.New("late") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the call ended with %v", err)
	}
	if took := time.Since(began); took != time.Second+turn.Grace {
		t.Fatalf("the call took %v", took)
	}
	return hangs
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turn.Turn
		lock(t, &turns, "one")
		second := make(chan error, 1)
		go func() { second <- turns.Lock(t.Context(), "two") }()
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("two have the turn: %v", err)
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := turns.Lock(ctx, "three"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting ended with %v", err)
		}
		turns.Unlock()
		if err := <-second; err != nil {
			t.Error(err)
		}
	})
}

func TestACallThatComesBackInItsGraceHasItsOwnResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turn.Turn
		lock(t, &turns, "stop")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		own := errors.New("own")
		if err := turns.Run(ctx, turn.Grace, func() error {
			<-time.After(time.Second + turn.Grace/2)
			return own
		}); !errors.Is(err, own) {
			t.Error(err)
		}
		lock(t, &turns, "start")
	})
}

func TestAnAbandonedCallRefusesTheOthersUntilItComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turn.Turn
		hangs := abandon(t, &turns)
		if op := turns.Abandoned(); op != "stop" {
			t.Errorf("abandoned is %q", op)
		}
		err := turns.Lock(t.Context(), "start")
		if !errors.Is(err, vm.ErrUnavailable) || !strings.Contains(err.Error(), "stop") {
			t.Errorf("error is %v", err)
		}
		close(hangs)
		synctest.Wait()
		if op := turns.Abandoned(); op != "" {
			t.Errorf("abandoned is %q", op)
		}
		lock(t, &turns, "start")
	})
}

// TestWaitersOfACallThatIsAbandonedAreRefused shows that they do not wait for
// as long as the call hangs.
func TestWaitersOfACallThatIsAbandonedAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turn.Turn
		waiter := make(chan error, 1)
		go func() {
			<-time.After(time.Millisecond)
			waiter <- turns.Lock(t.Context(), "start")
		}()
		hangs := abandon(t, &turns)
		if err := <-waiter; !errors.Is(err, vm.ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
		close(hangs)
	})
}

func TestSeize(t *testing.T) {
	for name, c := range map[string]struct {
		abandoned, stubborn bool
		takes               time.Duration
	}{
		"a call in progress gets some patience": {takes: turn.Patience},
		"an abandoned call gets none":           {abandoned: true},
		"what cannot be broken off fails":       {stubborn: true, takes: turn.Patience + turn.Bound},
		"also if it was abandoned before":       {abandoned: true, stubborn: true, takes: turn.Bound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var turns turn.Turn
				var hangs chan struct{}
				if c.abandoned {
					hangs = abandon(t, &turns)
				} else {
					hangs = make(chan struct{})
					lock(t, &turns, "stop")
					go turns.Run(t.Context(), turn.Grace, func() error { <-hangs; return nil })
				}
				began, broken := time.Now(), 0
				err := turns.Seize("destroy", func() {
					broken++
					if !c.stubborn {
						close(hangs)
					}
				})
				if took := time.Since(began); took != c.takes || broken != 1 {
					t.Errorf("it took %v and broke off %d times, want %v and once", took, broken, c.takes)
				}
				if c.stubborn {
					if !errors.Is(err, vm.ErrUnavailable) {
						t.Errorf("error is %v", err)
					}
					close(hangs)
					synctest.Wait()
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSeizeOfAFreeTurn(t *testing.T) {
	var turns turn.Turn
	if err := turns.Seize("destroy", func() { t.Error("there is nothing to break off") }); err != nil {
		t.Error(err)
	}
}

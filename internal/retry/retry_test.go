package retry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var errTest = errors.New("not yet")

// around reports whether the pauses are those wanted, but for their jitter.
func around(got, want []time.Duration) bool {
	return slices.EqualFunc(got, want, func(g, w time.Duration) bool {
		return float64(g) >= float64(w)*(1-jitter)-1 && float64(g) <= float64(w)*(1+jitter)+1
	})
}

func TestPausesGrowToTheirBound(t *testing.T) {
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}
	for name, c := range map[string]struct {
		do    func(Pauses, context.Context, func() error, func(error, time.Duration)) error
		calls int
		told  []time.Duration
	}{
		"do":    {Pauses.Do, 6, want},
		"again": {Pauses.Again, 5, want[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, calls := time.Now(), 0
				var told []time.Duration
				var total time.Duration
				err := c.do(Pauses{time.Second, 5 * time.Second}, t.Context(), func() error {
					if calls++; calls == c.calls {
						return nil
					}
					return errTest
				}, func(err error, pause time.Duration) {
					if !errors.Is(err, errTest) {
						t.Errorf("told of %v", err)
					}
					told = append(told, pause)
					total += pause
				})
				if err != nil || !around(told, c.told) {
					t.Errorf("%v, told of pauses %v, want around %v", err, told, c.told)
				}
				waited := time.Since(begin)
				if name == "again" {
					if !around([]time.Duration{waited - total}, want[:1]) {
						t.Errorf("the first pause took %v", waited-total)
					}
				} else if waited != total {
					t.Errorf("waited %v, told of %v", waited, total)
				}
			})
		})
	}
}

func TestWhatFailedTogetherIsNotRepeatedTogether(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		seen[Pauses{time.Minute, time.Hour}.New().NextBackOff()] = true
	}
	if len(seen) < 10 {
		t.Errorf("20 series began with %d different pauses", len(seen))
	}
}

func TestStopAndTheEndOfTheContextEndTheAttempts(t *testing.T) {
	if err := (Pauses{time.Hour, time.Hour}).Do(t.Context(), func() error { return Stop(errTest) }, nil); !errors.Is(err, errTest) {
		t.Errorf("stopped: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("closed")
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		ended := make(chan error, 1)
		go func() {
			ended <- Pauses{time.Hour, time.Hour}.Again(ctx, func() error { calls++; return errTest }, nil)
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) || calls != 0 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

package background

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// What a caller that has given up does not get, something else does: it would never be freed.
func TestDeliver(t *testing.T) {
	errMade := errors.New("made")
	for name, tt := range map[string]struct {
		gives    bool // the caller gives up
		err      error
		got      int
		wantLate bool
	}{
		"in time":          {false, nil, 7, false},
		"a failure":        {false, errMade, 7, false},
		"too late":         {true, nil, 0, true},
		"a failure, later": {true, errMade, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(t.Context())
				ctx, cancel := context.WithCancel(g.Context())
				goOn, late, returned := make(chan struct{}), false, make(chan struct{})
				go func() {
					defer close(returned)
					got, err := Deliver(ctx, g, func() (int, error) { <-goOn; return 7, tt.err }, func(int) { late = true })
					if got != tt.got || tt.gives != errors.Is(err, context.Canceled) || !tt.gives && !errors.Is(err, tt.err) {
						t.Errorf("got %d, %v", got, err)
					}
				}()
				synctest.Wait()
				if tt.gives {
					cancel()
					<-returned
				}
				close(goOn)
				<-returned
				cancel()
				synctest.Wait()
				if late != tt.wantLate {
					t.Errorf("late got it: %v", late)
				}
				g.Stop()
				g.Wait()
			})
		})
	}
}

func TestDeliverAfterTheEnd(t *testing.T) {
	g := New(t.Context())
	g.Stop()
	if _, err := Deliver(g.Context(), g, func() (int, error) { t.Error("it ran"); return 0, nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

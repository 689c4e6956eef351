package gate

import (
	"errors"
	"testing"
)

func TestEndWaitsForCallsAndRefusesLaterOnes(t *testing.T) {
	var g Gate
	closed := errors.New("closed")
	if err := errors.Join(g.Enter(closed), g.Enter(closed)); err != nil {
		t.Fatal(err)
	}
	left := make(chan int, 1)
	left <- 2
	ended := make(chan bool, 1)
	go func() {
		again := g.End()
		if k := <-left; k != 0 {
			t.Errorf("it ended with %d calls in progress", k)
		}
		ended <- again
	}()
	for range 2 {
		left <- <-left - 1
		g.Exit()
	}
	if <-ended {
		t.Error("it says that it was called before")
	}
	if err := g.Enter(closed); !errors.Is(err, closed) {
		t.Errorf("a call afterwards: %v", err)
	}
	if !g.End() {
		t.Error("the second end does not say so")
	}
}

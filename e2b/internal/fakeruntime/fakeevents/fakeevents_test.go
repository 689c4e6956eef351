package fakeevents

import (
	"context"
	"errors"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestAWaitEndsWithAnEventAnErrorOrItsContext(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	j := &Journal{}
	waiting := func() <-chan error {
		out := make(chan error, 1)
		go func() {
			_, err := j.AwaitEvents(ctx, sandbox.EventFilter{Limit: 1}, 1)
			out <- err
		}()
		return out
	}
	first := waiting()
	j.Happen(sandbox.Event{})
	j.Happen(sandbox.Event{})
	if err := <-first; err != nil {
		t.Error(err)
	}
	j.Break(broken)
	if err := <-waiting(); !errors.Is(err, broken) {
		t.Error(err)
	}
	j.Break(nil)
	j = &Journal{}
	last := waiting()
	cancel()
	if err := <-last; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

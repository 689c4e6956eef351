package background

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestGroupEndsWithStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g := New(ctx)
		cancel()
		ended := false
		if !g.Go(func() { <-g.Context().Done(); ended = true }) {
			t.Fatal("a group must outlive the context that it was made with")
		}
		synctest.Wait()
		if ended {
			t.Fatal("the function ended before Stop")
		}
		g.Stop()
		g.Wait()
		if !ended {
			t.Error("Wait returned before the function did")
		}
		if g.Go(func() { t.Error("it ran after Stop") }) {
			t.Error("Go reported true after Stop")
		}
	})
}

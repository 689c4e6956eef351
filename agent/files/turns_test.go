//go:build linux

package files

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestATurnIsHadByOneAndForgottenAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTurns()
		id := fileID{1, 2}
		_, release, err := ts.wait(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		// Another file is free.
		_, other, err := ts.wait(t.Context(), fileID{1, 3})
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, _, err := ts.wait(ctx, id)
			gone <- err
		}()
		next := make(chan struct{})
		go func() {
			_, release, err := ts.wait(t.Context(), id)
			if err != nil {
				t.Error(err)
			}
			close(next)
			release()
		}()
		synctest.Wait()
		select {
		case <-next:
			t.Fatal("two have a turn")
		default:
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: %v", err)
		}
		ts.reading(id)() // A reader waits for no turn.
		release()
		<-next
		synctest.Wait()
		if len(ts.files) != 0 {
			t.Errorf("%d files are kept", len(ts.files))
		}
	})
}

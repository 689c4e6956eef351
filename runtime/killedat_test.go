package runtime

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/runtime/step"
)

// TestAKillAtAnyStepLeavesNothing ends the sandbox of an operation, and the request of
// its client, at every step that the operation passes.
func TestAKillAtAnyStepLeavesNothing(t *testing.T) {
	for _, at := range step.All() {
		t.Run(string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killAt(t, at) })
		})
	}
}

func killAt(t *testing.T, at step.Step) {
	f := newFixture(t)
	defer f.rt.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	subject := f.create(long)
	snap, err := f.rt.Snapshot(t.Context(), subject.ID, "snap", "")
	if err != nil {
		t.Fatal(err)
	}
	f.before(at, subject.ID)
	var kill sync.WaitGroup
	var once sync.Once
	f.failpoint(func(now step.Step) error {
		if now == at {
			once.Do(func() {
				hangUp()
				for _, sb := range f.rt.live.All() {
					kill.Go(func() { _ = f.rt.Kill(t.Context(), sb.ID) })
					for !sb.Condemned() {
						runtime.Gosched() // The kill waits for this step, and comes as far as that.
					}
				}
			})
		}
		return nil
	})
	f.passing(ctx, at, subject.ID, snap.ID)
	synctest.Wait() // The operation may go on without its client, and begin the kills then.
	kill.Wait()
	synctest.Wait()
	f.failpoint(nil)
	if ctx.Err() == nil {
		t.Fatal("the operation ended without passing the step")
	}
	f.wantConsistent()
	f.wantOnlyTheBase(snap.ID, "other")
}

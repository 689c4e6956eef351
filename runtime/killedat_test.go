package runtime

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
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
	operation, _, _ := strings.Cut(string(at), ".")
	if operation == "resume" || at == step.KillDropped {
		f.pause(subject.ID)
	}
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
	switch operation {
	case "create":
		_, _ = f.rt.Create(ctx, request())
	case "pause":
		_ = f.rt.Pause(ctx, subject.ID, true)
	case "resume":
		_, _, _ = f.rt.Connect(ctx, subject.ID, time.Hour)
	case "snapshot":
		if at == step.SnapshotDropped || at == step.SnapshotDeleted {
			_ = f.rt.DeleteSnapshot(ctx, snap.ID)
		} else {
			_, _ = f.rt.Snapshot(ctx, subject.ID, "other", "")
		}
	case "fork":
		_, _ = f.rt.Fork(ctx, subject.ID, sandbox.ForkRequest{Count: 2, Timeout: time.Hour})
	case "kill":
		_ = f.rt.Kill(ctx, subject.ID)
	}
	synctest.Wait() // The operation may go on without its client, and begin the kills then.
	kill.Wait()
	synctest.Wait()
	f.failpoint(nil)
	if ctx.Err() == nil {
		t.Fatal("the operation ended without passing the step")
	}
	f.wantConsistent()
	if err := f.rt.KillAll(t.Context(), "end"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"snap", "other"} {
		if err := f.rt.DeleteSnapshot(t.Context(), name); err != nil && !errors.Is(err, sandbox.ErrSnapshotNotFound) {
			t.Error(err)
		}
	}
	f.wantNothingLeft()
	if n := countSnapshots(f); n != 1 {
		t.Errorf("%d snapshots left, want the base's: %v", n, f.host.Objects())
	}
}

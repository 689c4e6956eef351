package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

func TestASandboxThatEndedForMemoryIsToldSo(t *testing.T) {
	f := newFixture(t)
	for reason, want := range map[string]bool{"oom": true, "exited: 1": false, "killed by request": false} {
		sb := f.create()
		inner, _ := f.rt.live.Find(sb.ID)
		if err := f.rt.ender.End(context.Background(), inner, reason); err != nil {
			t.Fatal(err)
		}
		told := map[string]error{"kill": f.rt.Kill(context.Background(), sb.ID)}
		_, told["get"] = f.rt.Get(context.Background(), sb.ID)
		_, told["dial"] = f.rt.Dial(context.Background(), sb.ID, 80)
		_, told["settled"] = f.rt.Settled(context.Background(), sb.ID)
		_, told["metrics"] = f.rt.Metrics(context.Background(), sb.ID, time.Time{}, time.Time{})
		f.restart()
		_, told["get after a restart"] = f.rt.Get(context.Background(), sb.ID)
		for call, err := range told {
			var memory *sandbox.OutOfMemoryError
			if !errors.Is(err, sandbox.ErrNotFound) || errors.As(err, &memory) != want {
				t.Errorf("ended as %q: %v", reason, err)
			}
			if want && !strings.Contains(memory.Detail, fmt.Sprintf("%d MiB", sb.MemoryMiB)) {
				t.Errorf("%s: no figure in %q", call, memory.Detail)
			}
		}
	}
}

// TestWhoMeetsASandboxThatRunsOutOfMemoryIsToldSo: also while it is being ended, and
// when it ended in a pause.
func TestWhoMeetsASandboxThatRunsOutOfMemoryIsToldSo(t *testing.T) {
	for name, end := range map[string]func(f *fixture, id string){
		"running": func(f *fixture, id string) { f.inside(id).Exit(live.ReasonOOM) },
		"pausing": func(f *fixture, id string) {
			f.failNext("snapshot", 1)
			f.lookDuring("snapshot", func() { f.inside(id).Exit(live.ReasonOOM) })
			_ = f.rt.Pause(context.Background(), id, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				id := f.create(hours).ID
				ending := make(chan error, 1)
				f.lookDuring("destroy", func() {
					_, err := f.rt.Get(context.Background(), id)
					ending <- err
				})
				end(f, id)
				synctest.Wait()
				_, ended := f.rt.Get(context.Background(), id)
				for when, err := range map[string]error{"being ended": <-ending, "ended": ended} {
					var memory *sandbox.OutOfMemoryError
					if !errors.As(err, &memory) || !errors.Is(err, sandbox.ErrNotFound) || !strings.Contains(memory.Detail, "out of memory: the sandbox used all of its 512 MiB") {
						t.Errorf("%s: %v", when, err)
					}
				}
				if row := f.row(id); row.Reason != live.ReasonOOM {
					t.Errorf("reason %q", row.Reason)
				}
			})
		})
	}
}

func TestOutOfMemoryHasItsFigures(t *testing.T) {
	cause := &vm.Error{Op: "snapshot", ID: "i1", Err: fmt.Errorf("%w: it may take 300 MiB", vm.ErrOutOfMemory)}
	err := fault.Classify(fmt.Errorf("pause: %w", cause))
	var memory *sandbox.OutOfMemoryError
	if !errors.Is(err, sandbox.ErrOutOfMemory) || !errors.As(err, &memory) || memory.Detail != "out of memory: it may take 300 MiB" {
		t.Errorf("%v", err)
	}
}

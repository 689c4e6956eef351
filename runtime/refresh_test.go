package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// A daemon that runs notices that the host changed: new sandboxes are made from a
// template of what is there now.
func TestTheTemplateFollowsTheHost(t *testing.T) {
	warmed(t, WarmTarget{Ready: 1}, func(t *testing.T, f *fixture) {
		host := "before"
		f.rt.Close()
		f.cfg.HostStamp = func() string { return host }
		f.open()
		defer f.rt.Close()
		ctx := context.Background()
		f.rt.refreshBase(ctx) // Nobody has asked for the template yet.
		f.create(hours)
		before := f.template()
		look := func() string {
			t.Helper()
			f.rt.refreshBase(ctx)
			return f.template().BuildID
		}
		if look() != before.BuildID || look() != before.BuildID {
			t.Error("it was built anew though nothing changed")
		}
		host, f.stamp = "in between", "v2"
		if look() != before.BuildID {
			t.Error("it was built while the host was changing")
		}
		host = "after"
		if look() != before.BuildID {
			t.Error("it was built while the host was changing")
		}
		f.failNext("base", 1)
		if look() != before.BuildID {
			t.Error("a failed build replaced the template")
		}
		f.create(hours) // from the former one
		after := look()
		if after == before.BuildID {
			t.Fatal("it was not built anew")
		}
		if look() != after {
			t.Error("it was built twice")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait() // for the pool
		f.forgetHistory()
		if sb := f.create(hours); f.row(sb.ID).BuildID != after {
			t.Errorf("a new sandbox is of build %s, want %s", f.row(sb.ID).BuildID, after)
		}
		host = "after, and nothing of it matters" // Its image is the same.
		if look() != after || look() != after {
			t.Error("it was built anew though the image is the same")
		}
	})
}

// What could not be restored is not saved: the sandbox runs on.
func TestASandboxThatCouldNotBeRestoredIsNotPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		f.cfg.Driver = f.rt.cfg.Driver
		f.rt.cfg.Driver = changedHost{f.cfg.Driver.(recordingDriver)}
		var changed *HostChangedError
		if err := f.rt.Pause(ctx, sb.ID, true); !errors.Is(err, ErrNotRestorable) || !errors.As(err, &changed) {
			t.Errorf("pause: %v", err)
		}
		if _, err := f.rt.Snapshot(ctx, sb.ID, "", ""); !errors.As(err, &changed) {
			t.Errorf("snapshot: %v", err)
		}
		if row := f.row(sb.ID); State(row.State) != StateRunning {
			t.Errorf("row %+v", row)
		}
		if err := f.rt.Pause(ctx, sb.ID, false); err != nil {
			t.Errorf("without its memory: %v", err)
		}
	})
}

// changedHost is a driver whose machines have a file open that was replaced.
type changedHost struct{ recordingDriver }

func (changedHost) Snapshot(context.Context, string, string) error {
	return &vm.Error{Op: "snapshot", Err: &vm.HostChangedError{File: "/usr/lib/libc.so.6", How: "was replaced"}}
}

// A machine that is gone is no snapshot that cannot be restored.
func TestAMachineThatIsGoneIsNotFoundWhenItIsSaved(t *testing.T) {
	gone := fmt.Errorf("save: %w", vm.ErrNotFound)
	if err := classifySave("i1", gone); !errors.Is(err, ErrSandboxNotFound) || errors.Is(err, ErrNotRestorable) {
		t.Errorf("got %v", err)
	}
	if err := classify(gone); !errors.Is(err, ErrNotRestorable) {
		t.Errorf("a restore: %v", err)
	}
}

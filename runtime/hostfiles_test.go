package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// changedHost is a driver on a host whose files changed under the programs of
// all machines: none is saved or restored with its memory, but to save its files.
type changedHost struct{ recordingDriver }

func (d changedHost) changed(op string) error {
	return &vm.Error{Op: op, Err: &vm.HostChangedError{File: "/usr/lib/libc.so.6", How: "was replaced"}}
}

func (d changedHost) Snapshot(context.Context, string, string) error { return d.changed("snapshot") }

func (d changedHost) Create(ctx context.Context, id string, spec vm.Spec) error {
	if ref := spec.RestoreFrom; ref != nil && !ref.AnyHostFiles {
		info, err := d.InspectSnapshot(ctx, ref.VMID, ref.SnapshotID)
		if err != nil {
			return err
		}
		if !info.Filesystem {
			return d.changed("create")
		}
	}
	return d.recordingDriver.Create(ctx, id, spec)
}

// What could not be restored is not saved: the sandbox runs on.
func TestASandboxThatCouldNotBeRestoredIsNotPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		f.drive(func(d recordingDriver) vm.Runtime { return changedHost{d} })
		var changed *sandbox.HostChangedError
		if err := f.rt.Pause(ctx, sb.ID, true); !errors.Is(err, sandbox.ErrNotRestorable) || !errors.As(err, &changed) {
			t.Errorf("pause: %v", err)
		}
		if _, err := f.rt.Snapshot(ctx, sb.ID, "", ""); !errors.As(err, &changed) {
			t.Errorf("snapshot: %v", err)
		}
		if row := f.row(sb.ID); row.State != sandbox.StateRunning {
			t.Errorf("row %+v", row)
		}
		if err := f.rt.Pause(ctx, sb.ID, false); err != nil {
			t.Errorf("without its memory: %v", err)
		}
	})
}

// What was paused can be got at, whatever was installed since.
func TestASandboxIsBootedFromItsFilesOverAChangedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		f.pause(sb.ID)
		f.drive(func(d recordingDriver) vm.Runtime { return changedHost{d} })
		var changed *sandbox.HostChangedError
		if _, _, err := f.rt.Connect(ctx, sb.ID, time.Minute); !errors.Is(err, sandbox.ErrNotRestorable) || !errors.As(err, &changed) {
			t.Errorf("resume: %v", err)
		}
		if row := f.row(sb.ID); row.State != sandbox.StatePaused {
			t.Errorf("row %+v", row)
		}
		if _, err := f.reboot(sb.ID); err != nil {
			t.Errorf("from its files: %v", err)
		}
	})
}

// A machine that is gone is not a snapshot that cannot be restored.
func TestAMachineThatIsGoneIsNotFoundWhenItIsSaved(t *testing.T) {
	gone := fmt.Errorf("save: %w", vm.ErrNotFound)
	if err := fault.ClassifySave("i1", gone); !errors.Is(err, sandbox.ErrNotFound) || errors.Is(err, sandbox.ErrNotRestorable) {
		t.Errorf("got %v", err)
	}
	if err := fault.Classify(gone); !errors.Is(err, sandbox.ErrNotRestorable) {
		t.Errorf("a restore: %v", err)
	}
}
